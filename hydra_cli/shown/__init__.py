"""An answer and what the gate found, in words and as JSON, for terminal and server alike."""
