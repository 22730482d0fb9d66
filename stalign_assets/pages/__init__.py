"""Pages for people: what a scientist reads, prints and passes on of a cohort and of each donor."""
