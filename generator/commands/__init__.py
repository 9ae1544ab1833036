"""The commands, one thin file each: options, one call, output."""
