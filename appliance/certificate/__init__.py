"""certificate: asks the authority for the page's certificate. Dials it, and holds nothing secret."""
