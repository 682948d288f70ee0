/* Words on a file system of the attacker's own making: the server decides anew what each reader is shown, and when. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

enum { WORDS_NODE = 2, REQUEST_MAX = 128 << 10, PAGE = 4096, STALL_SECONDS = 6 /* more than a supervisor may wait */ };

struct server {
	int device;
	_Atomic bool *started;
	time_t stall; /* before the first page of each opening is delivered */
	unsigned openings;
	unsigned reads; /* since the last one */
};

static void reply(const struct server *server, const struct fuse_in_header *request, int err, const void *data,
		  size_t size)
{
	char message[sizeof(struct fuse_out_header) + PAGE];
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + size), .error = err, .unique = request->unique};

	memcpy(message, &header, sizeof(header));
	if (size > 0)
		memcpy(message + sizeof(header), data, size);
	(void)!write(server->device, message, header.len);
}

/* What a reader was shown is forgotten by the kernel: the next one asks again. */
static void forget_pages(const struct server *server)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_inval_inode_out what;
	} notice = {.header = {.len = sizeof(notice), .error = FUSE_NOTIFY_INVAL_INODE}, .what = {.ino = WORDS_NODE}};

	(void)!write(server->device, &notice, sizeof(notice));
}

/* Some supervisors read twice: how many readers are shown the harmless word differs from one opening to the next. */
static void serve_page(struct server *server, const struct fuse_in_header *request)
{
	char page[PAGE] = "";
	const unsigned harmless_reads = 1 + server->openings % 3;

	if (server->reads == 0 && server->stall > 0)
		nanosleep(&(struct timespec){.tv_sec = server->stall}, NULL);
	strcpy(page, server->reads++ < harmless_reads ? harmless : harmful);
	reply(server, request, 0, page, sizeof(page));
	if (server->reads <= harmless_reads)
		forget_pages(server);
}

static struct fuse_attr attributes_of(uint64_t node)
{
	return (struct fuse_attr){.ino = node,
				  .size = node == FUSE_ROOT_ID ? 0 : PAGE,
				  .mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
				  .nlink = 1,
				  .blksize = PAGE};
}

static void serve(struct server *server, const struct fuse_in_header *request)
{
	struct fuse_init_out hello = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = PAGE};
	struct fuse_entry_out entry = {
		.nodeid = WORDS_NODE, .entry_valid = 3600, .attr_valid = 3600, .attr = attributes_of(WORDS_NODE)};
	struct fuse_attr_out attributes = {.attr_valid = 3600, .attr = attributes_of(request->nodeid)};
	struct fuse_open_out open_reply = {0};

	switch (request->opcode) {
	case FUSE_INIT:
		reply(server, request, 0, &hello, sizeof(hello));
		atomic_store(server->started, true);
		break;
	case FUSE_LOOKUP:
		reply(server, request, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		reply(server, request, 0, &attributes, sizeof(attributes));
		break;
	case FUSE_OPEN:
		server->reads = 0;
		server->openings++;
		reply(server, request, 0, &open_reply, sizeof(open_reply));
		break;
	case FUSE_READ:
		serve_page(server, request);
		break;
	case FUSE_RELEASE:
	case FUSE_FLUSH:
		reply(server, request, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		reply(server, request, -ENOSYS, NULL, 0);
	}
}

static void serve_forever(struct attack_state *state, time_t stall)
{
	static _Alignas(8) char request[REQUEST_MAX];
	struct server server = {.device = state->file, .started = state->started, .stall = stall, .openings = UINT_MAX};

	while (read(server.device, request, sizeof(request)) > 0 || errno == ENOENT || errno == EINTR)
		serve(&server, (const struct fuse_in_header *)(void *)request);
}

static void peer_serves(struct attack_state *state)
{
	serve_forever(state, 0);
}

static void peer_stalls(struct attack_state *state)
{
	serve_forever(state, STALL_SECONDS);
}

static int prepare_server(struct attack_state *state, void (*peer)(struct attack_state *))
{
	char options[128];
	const char *point = in_directory(state, "mount");
	int err = prepare_private(state);

	state->file = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (err < 0 || mkdir(point, 0755) < 0)
		return err < 0 ? err : -errno;
	if (state->file < 0 || geteuid() != 0)
		return 0; /* each round says so */
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", state->file);
	if (mount("sallyport-torture", point, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return -errno;
	err = with_peer(state, peer);
	close(state->file); /* the server's alone: the file system ends with it */
	state->file = -1;
	return err;
}

static int prepare_swap(struct attack_state *state)
{
	return prepare_server(state, peer_serves);
}

static int prepare_stall(struct attack_state *state)
{
	return prepare_server(state, peer_stalls);
}

static void round_fuse(struct attack_state *state)
{
	int fd = -1;
	void *page = NULL;

	if (state->peer < 0) {
		errno = EPERM;
		end_blocked("attack: FUSE");
	}
	await_start(state);
	fd = open(in_directory(state, "mount/words"), O_RDONLY | O_CLOEXEC);
	page = mmap((void *)0x110000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
	if (page == MAP_FAILED)
		_exit(EXIT_OTHER);
	state->stage->argv[1] = page;
	exec_stage(state->stage);
}

static const char *why_no_fuse(void)
{
	return geteuid() == 0 ? NULL : "a file system of one's own needs root";
}

/* Few: with the job stopped, so is its server, and each round lasts until a deadline. */
const struct attack fuse_attacks[] = {
	{"fuse", "verify", "a page that a FUSE server shows differently each time", prepare_swap, round_fuse, 9,
	 why_no_fuse},
	{"fuse-stall", "deadline", "the same, and the first reader waits for 6 seconds", prepare_stall, round_fuse, 1,
	 why_no_fuse},
	{0},
};
