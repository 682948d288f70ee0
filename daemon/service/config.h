/* sallyportd's configuration: who may do what. What no rule grants is refused; root may everything. */
#ifndef SP_SERVICE_CONFIG_H
#define SP_SERVICE_CONFIG_H

#include "api/server.h"
#include "util/error.h"

enum sp_deed { SP_DEED_RUN, SP_DEED_SEE, SP_DEED_KILL, SP_DEED_FREEZE, SP_DEED_APPROVE, SP_DEED_RELOAD, SP_DEEDS };

struct sp_grant {
	bool everybody;
	uid_t *users;
	unsigned user_count;
	gid_t *groups;
	unsigned group_count;
	char **policies; /* that may be run under; the first of the first grant is the usual one */
	unsigned policy_count;
	unsigned deeds; /* a bit an enum sp_deed */
	bool all_jobs; /* not only one's own */
};

struct sp_config {
	char *audit; /* the database; NULL: SP_SERVICE_AUDIT */
	struct sp_grant *grants;
	unsigned grant_count;
};

#define SP_SERVICE_AUDIT "/var/lib/sallyport/audit.db"

/* path NULL: nobody but root may anything. 0, or -errno with file:line:column and what was expected. */
[[nodiscard]] int sp_config_load(const char *path, struct sp_config *config, struct sp_error *e);
void sp_config_release(struct sp_config *config);

/* job_uid: whose job it is about; NULL: about none. */
bool sp_config_may(const struct sp_config *config, const struct sp_peer *peer, enum sp_deed deed, const uid_t *job_uid);
/* name NULL: the peer's usual policy. The name that is granted, or NULL. */
const char *sp_config_policy(const struct sp_config *config, const struct sp_peer *peer, const char *name);

#endif
