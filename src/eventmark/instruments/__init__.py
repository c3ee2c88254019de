"""What watches the client's own process: clock, timer, loop lag, garbage collection, profiler."""
