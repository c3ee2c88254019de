"""One tenant alone, and while another burdens the server; what tenant filtering costs."""
