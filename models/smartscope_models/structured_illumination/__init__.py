"""Structured illumination: frames under shifted fringes become one image of twice the resolution, with a verdict."""
