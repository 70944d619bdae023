"""From captured requests to a test that fails every time at bad and never at good."""
