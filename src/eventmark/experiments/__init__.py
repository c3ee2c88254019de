"""One room per experiment: each runs on a job and ends with a result. They do not import each other."""
