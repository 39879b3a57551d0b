package checks

/*
static int ring(void)
{
	unsigned short cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	return cs & 3;
}
*/
import "C"

import "strconv"

// ring is the privilege level that the program runs at.
func ring() string {
	return strconv.Itoa(int(C.ring()))
}
