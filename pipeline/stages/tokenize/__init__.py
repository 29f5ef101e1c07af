"""Examples as token ids; a text that is too long is left out and counted, never cut."""
