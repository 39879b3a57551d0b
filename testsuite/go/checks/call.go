package checks

/*
#include <pthread.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

extern int fromC(int);

static void *thread(void *argument)
{
	return (void *)(long)fromC((int)(long)argument);
}

// Calls Go from a thread that Go has not made.
static int through_thread(int n)
{
	pthread_t id;
	void *result = NULL;

	if (pthread_create(&id, NULL, thread, (void *)(long)n))
		return -1;
	pthread_join(id, &result);
	return (int)(long)result;
}

static int fails(void)
{
	return close(-1);
}
*/
import "C"

//export fromC
func fromC(n C.int) C.int {
	return C.int(deep(int(n)))
}

func throughThread(n int) int {
	return int(C.through_thread(C.int(n)))
}

func failsInC() error {
	_, err := C.fails()
	return err
}
