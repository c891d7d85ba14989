"""The reading pages of `make site`: the notebooks, READMEs and results as a static site, in English and Korean."""
