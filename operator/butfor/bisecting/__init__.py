"""From a reproduction and a prior to the first bad commit on the commit graph."""
