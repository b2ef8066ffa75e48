"""The one way from histories to heads and from a query to an answer."""
