"""Next-token distributions on a support, and the divergences between them."""
