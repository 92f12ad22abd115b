"""Adapters to other libraries, one library per file. Import the module that you need."""
