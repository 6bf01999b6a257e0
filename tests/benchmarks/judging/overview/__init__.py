"""Judging which field is looked at next: fields of unequal and changing activity, and the rivals' rules."""
