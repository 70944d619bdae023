/* A loop of failing open(): waits for a byte, runs for the seconds given, prints calls, seconds, CPU seconds. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int count, char **arguments)
{
	double wanted = count > 1 ? atof(arguments[1]) : 1, begin, passed;
	unsigned long calls = 0;
	struct rusage used;
	char go;

	if (read(0, &go, 1) != 1)
		return 2;
	begin = now();
	do {
		for (int at = 0; at < 1000; at++)
			open("/nowhere/storm", 0);
		calls += 1000;
		passed = now() - begin;
	} while (passed < wanted);
	getrusage(RUSAGE_SELF, &used);
	printf("%lu %.6f %.6f\n", calls, passed,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6);
	return 0;
}
