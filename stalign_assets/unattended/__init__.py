"""What is to be done without being asked: rules on a study and its runs, for sensors and a schedule to follow."""
