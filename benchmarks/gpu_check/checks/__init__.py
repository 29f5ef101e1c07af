"""The checks, a module each: TITLE, SECONDS (its limit), and `measure`, which gives figures."""
