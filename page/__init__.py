"""Web page: layout, event handlers, sessions, player and server."""
