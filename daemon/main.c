/* sallyportd(8): the system service. Not part of this version: it says so, and names what does the work today. */
#include "plugin/process.h"
#include "self/harden.h"
#include "util/version.h"

#include <stdio.h>
#include <string.h>

/* As the client's own failures: no status of a supervised command. */
#define EXIT_NO_SERVICE 125

int main(int argc, char **argv)
{
	struct sp_error e = {0};
	const int status = sp_plugin_process(argc, argv);

	if (status >= 0)
		return status;
	if (sp_self_confine(&e) != 0) {
		fprintf(stderr, "sallyportd: %s\n", e.text);
		return EXIT_NO_SERVICE;
	}
	if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts("sallyportd " SP_VERSION);
		return 0;
	}
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		puts("Usage: sallyportd --help | --version\n\n"
		     "The system service of sallyport is not part of this version.\n"
		     "`sallyport run` supervises a command by itself and needs no daemon.");
		return 0;
	}
	fputs("sallyportd: the service is not part of this version; `sallyport run` needs no daemon\n", stderr);
	return EXIT_NO_SERVICE;
}
