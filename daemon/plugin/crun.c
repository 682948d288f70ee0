/* See crun.h. The names and the order of arguments are crun's (src/libcrun/seccomp_notify_plugin.h there). */
#include "plugin/crun.h"

#include "util/cleanup.h"

#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CRUN "run_oci_seccomp_notify_"

struct container {
	const char *runtime_root_path, *name, *bundle_path, *oci_config_path;
};

typedef int version_function(void);
typedef int start_function(void **self, struct container *container, size_t size);
typedef int request_function(void *self, struct seccomp_notif_sizes *sizes, struct seccomp_notif *request,
			     struct seccomp_notif_resp *response, int listener, int *handled);
typedef int stop_function(void *self);

struct sp_crun {
	json_t *config; /* the container's strings are in it */
	struct container container;
	request_function *request;
	stop_function *stop;
	void *self;
	struct seccomp_notif_sizes sizes;
	/* As large as the kernel has them, which may be more than we know. */
	struct seccomp_notif *asked;
	struct seccomp_notif_resp *response;
};

static void free_crun(struct sp_crun *crun)
{
	json_decref(crun->config);
	free(crun->asked);
	free(crun->response);
	free(crun);
}

static void free_crun_ptr(struct sp_crun **crun)
{
	if (*crun != NULL)
		free_crun(*crun);
}

static const char *text_of(const json_t *config, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(config, key));

	return text != NULL ? text : otherwise;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static const char *make_room(struct sp_crun *crun)
{
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &crun->sizes) != 0)
		return strerror(errno);
	crun->asked = calloc(1, larger(crun->sizes.seccomp_notif, sizeof *crun->asked));
	crun->response = calloc(1, larger(crun->sizes.seccomp_notif_resp, sizeof *crun->response));
	return crun->asked != NULL && crun->response != NULL ? NULL : "out of memory";
}

static void describe_container(struct sp_crun *crun)
{
	crun->container = (struct container){
		.runtime_root_path = text_of(crun->config, "runtime_root_path", "/run/sallyport"),
		.name = text_of(crun->config, "name", "sallyport"),
		.bundle_path = text_of(crun->config, "bundle_path", "/"),
		.oci_config_path = text_of(crun->config, "oci_config_path", "/dev/null"),
	};
}

struct sp_crun *sp_crun_new(void *handle, const char *config, char *why, size_t size)
{
	sp_cleanup(free_crun_ptr) struct sp_crun *crun = calloc(1, sizeof *crun);
	const char *missing = crun != NULL ? make_room(crun) : "out of memory";

	if (missing != NULL) {
		(void)snprintf(why, size, "%s", missing);
		return NULL;
	}
	/* crun looks for the first; the second is what its header calls it. */
	version_function *version = (version_function *)dlsym(handle, CRUN "version");
	if (version == NULL)
		version = (version_function *)dlsym(handle, CRUN "plugin_version");
	const int number = version != NULL ? version() : 1;
	if (number != 1) {
		(void)snprintf(why, size, "it speaks version %d of crun's interface, we speak 1", number);
		return NULL;
	}
	crun->request = (request_function *)dlsym(handle, CRUN "handle_request");
	crun->stop = (stop_function *)dlsym(handle, CRUN "stop");
	if (crun->request == NULL) {
		(void)snprintf(why, size, "it is no plugin of crun's: it has no symbol " CRUN "handle_request");
		return NULL;
	}
	crun->config = json_loads(config, JSON_DECODE_ANY, NULL);
	describe_container(crun);
	start_function *start = (start_function *)dlsym(handle, CRUN "start");
	const int err = start != NULL ? start(&crun->self, &crun->container, sizeof crun->container) : 0;
	if (err != 0) {
		(void)snprintf(why, size, "its start failed: %s", strerror(err < 0 ? -err : err));
		return NULL;
	}
	return sp_steal_ptr(crun);
}

void sp_crun_stop(struct sp_crun *crun)
{
	if (crun->stop != NULL)
		(void)crun->stop(crun->self);
	free_crun(crun);
}

enum sp_crun_handled sp_crun_ask(struct sp_crun *crun, const struct seccomp_notif *request, int listener,
				 struct seccomp_notif_resp *response)
{
	int handled = SP_CRUN_NOT_HANDLED;

	*crun->asked = *request;
	memset(crun->response, 0, larger(crun->sizes.seccomp_notif_resp, sizeof *crun->response));
	const int err = crun->request(crun->self, &crun->sizes, crun->asked, crun->response, listener, &handled);
	*response = *crun->response;
	return err == 0 && handled >= SP_CRUN_NOT_HANDLED && handled <= SP_CRUN_RESPONSE_AND_CONTINUE
		       ? (enum sp_crun_handled)handled
		       : SP_CRUN_FAILED;
}
