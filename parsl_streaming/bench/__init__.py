"""The benchmark: separate processes, the workloads of facilities, raw loops to compare with."""
