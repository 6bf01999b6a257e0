"""Single molecules, localised live: candidates, fits, a network for crowds, and what can be said of them."""
