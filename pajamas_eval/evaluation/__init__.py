"""Running a comparison: models asked, answers collected, fairness proven, runs recorded."""
