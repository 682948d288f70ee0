/* Plugins that were made for crun's seccomp notify (interface version 1), called as crun calls them. In the worker. */
#ifndef SP_PLUGIN_CRUN_H
#define SP_PLUGIN_CRUN_H

#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

/* What such a plugin says of a request, and in our messages also that it failed. */
enum sp_crun_handled {
	SP_CRUN_NOT_HANDLED,
	SP_CRUN_RESPONSE, /* to be sent */
	SP_CRUN_DELAYED, /* the plugin itself sends it, through the listener */
	SP_CRUN_RESPONSE_AND_CONTINUE,
	SP_CRUN_FAILED,
};

struct sp_crun;

/* handle: of dlopen(3). config: JSON, a mapping with what crun would tell of a container (name, bundle_path,
 * runtime_root_path, oci_config_path). NULL with why filled. */
[[nodiscard]] struct sp_crun *sp_crun_new(void *handle, const char *config, char *why, size_t size);
void sp_crun_stop(struct sp_crun *crun);

/* response is zeroed before. */
[[nodiscard]] enum sp_crun_handled sp_crun_ask(struct sp_crun *crun, const struct seccomp_notif *request, int listener,
					       struct seccomp_notif_resp *response);

#endif
