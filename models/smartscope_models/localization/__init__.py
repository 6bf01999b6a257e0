"""Single molecules: where they are, how bright, how sure; and the live signals made of them."""
