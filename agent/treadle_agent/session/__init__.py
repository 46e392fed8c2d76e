"""The stream to the controller: `machine` decides, `stream` speaks."""
