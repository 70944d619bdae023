"""What all tests share: properties are judged by what they find, not by how long a busy machine took to find it."""

from hypothesis import settings

settings.register_profile("butfor", deadline=None)
settings.load_profile("butfor")
