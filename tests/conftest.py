"""What holds for all tests."""

from hypothesis import settings

# A slow machine is no failure; and what failed is printed so that it can be run again.
settings.register_profile("stepwell", deadline=None, print_blob=True)
settings.load_profile("stepwell")
