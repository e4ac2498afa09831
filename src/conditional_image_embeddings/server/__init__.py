"""HTTP over the functions of `collection`: what is answered here, a user's own script can ask for as well."""
