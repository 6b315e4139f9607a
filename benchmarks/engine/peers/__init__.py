"""The peers' side: an application of each as its documentation shows it, and what fills its queue."""
