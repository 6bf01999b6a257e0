"""Drivers: everything that can stand where the microscope stands."""
