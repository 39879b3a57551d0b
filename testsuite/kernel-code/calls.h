/* Declarations of the kernel code, for both the program and the kernel. */
long add(long a, long b, long c, long d, long e, long f);
long sleep_a_little(int ms);
long describe(char *text, unsigned long size);
long is_odd(int flip);
long has_css_sets(void);
long peek(const void *address);
