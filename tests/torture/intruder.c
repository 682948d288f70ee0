/* The forbidden program of the attacks: whatever name led to it, that it runs at all is the escape. Static, since it has to
 * come to life below a root where there is nothing else.
 *
 * usage: intruder      writes 'E' to fd 9 */
#include <unistd.h>

enum { RESULTS_FD = 9 };

int main(void)
{
	return write(RESULTS_FD, "E", 1) == 1 ? 0 : 1;
}
