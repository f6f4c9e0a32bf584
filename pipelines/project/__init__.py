"""`hae init`: a look at data, and the project that is written for them."""
