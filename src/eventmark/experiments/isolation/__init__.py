"""One tenant alone and beside another that burdens the server; what tenant filtering costs."""
