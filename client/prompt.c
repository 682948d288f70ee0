/* See prompt.h. */
#include "prompt.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/printable.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { LOOK_AGAIN_AFTER = 300, STAND_STILL_WITHIN = 3000 /* milliseconds */ };
enum { SHOWN_BYTES = 4096, EXPIRES_DAYS = 30 };
#define DAY (INT64_C(24) * 3600 * 1000000000)

enum state {
	IDLE,
	STOPPING, /* the job shall stand still before anything is shown */
	ASKING,
	CONFIRMING, /* the rule that would be remembered is shown */
};

struct sp_prompt {
	struct sp_engine *engine;
	struct sp_job *job; /* NULL: it has ended */
	bool here;
	struct sp_engine_observer observer;
	int terminal; /* -1: not opened */
	uv_poll_t input;
	uv_timer_t timer;
	bool input_is_open; /* the handle */
	unsigned handles;
	enum state state;
	uint64_t stopping_since; /* milliseconds of the loop */
	uint64_t question; /* that stands there */
	uint64_t told; /* the last that standard error has told of */
	uint64_t left; /* the last one that shall not be asked here: its person has said so */
	struct termios settings; /* as they were */
	bool settings_changed;
	pid_t foreground; /* as it was; 0: it was ours */
	struct sp_answer answer; /* CONFIRMING */
	char *rule;
	char line[256];
	size_t size;
};

static void consider(struct sp_prompt *p);
static void look_again(struct sp_prompt *p);
static void show(struct sp_prompt *p);

/* --- the terminal --- */

/* Standard input is the terminal that this session has. */
static bool has_terminal(struct sp_prompt *p)
{
	if (!p->here || tcgetsid(STDIN_FILENO) != getsid(0))
		return false;
	if (p->terminal < 0)
		p->terminal = open("/dev/tty", O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return p->terminal >= 0;
}

/* Ours, or somebody's in the job, which stands still meanwhile; not the shell's. */
static bool is_in_front(const struct sp_prompt *p)
{
	const pid_t front = tcgetpgrp(p->terminal);

	return front > 0 && (front == getpgrp() || sp_job_has(p->job, front));
}

/* A line that was typed before the question is for the program. */
static bool has_input(const struct sp_prompt *p)
{
	int bytes = 0;

	return ioctl(p->terminal, FIONREAD, &bytes) != 0 || bytes > 0;
}

static void take_terminal(struct sp_prompt *p)
{
	const pid_t front = tcgetpgrp(p->terminal);

	p->foreground = front != getpgrp() && tcsetpgrp(p->terminal, getpgrp()) == 0 ? front : 0;
	if (tcgetattr(p->terminal, &p->settings) != 0)
		return;
	struct termios plain = p->settings;
	plain.c_iflag = (plain.c_iflag | ICRNL) & ~(tcflag_t)(IGNCR | INLCR);
	plain.c_oflag |= OPOST | ONLCR;
	plain.c_lflag |= ICANON | ECHO | ECHOE | ISIG;
	plain.c_lflag &= ~(tcflag_t)NOFLSH;
	p->settings_changed =
		memcmp(&plain, &p->settings, sizeof plain) != 0 && tcsetattr(p->terminal, TCSANOW, &plain) == 0;
}

/* What was typed while the question stood there was meant for it. */
static void give_terminal_back(struct sp_prompt *p)
{
	(void)tcflush(p->terminal, TCIFLUSH);
	if (p->settings_changed)
		(void)tcsetattr(p->terminal, TCSANOW, &p->settings);
	if (p->foreground != 0)
		(void)tcsetpgrp(p->terminal, p->foreground);
	p->settings_changed = false;
	p->foreground = 0;
}

static void write_out(const struct sp_prompt *p, const char *text)
{
	for (size_t size = strlen(text); size > 0;) {
		const ssize_t n = write(p->terminal, text, size);

		if (n <= 0)
			return; /* somebody has stopped the output: it is asked all the same */
		text += n;
		size -= (size_t)n;
	}
}

/* --- what is shown --- */

static const struct sp_question *current(const struct sp_prompt *p)
{
	return p->job != NULL ? sp_questions_find(sp_job_questions(p->job), p->question) : NULL;
}

/* The oldest that may be asked here. */
static const struct sp_question *next_question(const struct sp_prompt *p)
{
	const struct sp_questions *questions = p->job != NULL ? sp_job_questions(p->job) : NULL;
	const struct sp_question *q = questions != NULL ? sp_questions_first(questions) : NULL;

	while (q != NULL && q->id <= p->left)
		q = sp_questions_following(questions, q);
	return q;
}

static void print_command(FILE *out, const struct sp_question *q)
{
	const struct sp_strings *argv = &q->in->argv;
	const size_t first = argv->size > 0 ? strlen(argv->data) + 1 : 0;

	/* argv[0] is whatever the program says; what would run is the file. */
	sp_print_argument(out, q->in->file.path, strlen(q->in->file.path));
	if (argv->size <= first)
		return;
	(void)fputc(' ', out);
	sp_print_argv(out, argv->data + first, argv->size - first, SHOWN_BYTES);
}

static void print_link(FILE *out, const char *before, pid_t pid, const char *what)
{
	char name[SP_PROC_NAME], path[PATH_MAX];
	const ssize_t size = readlink(sp_proc_task(name, pid, what), path, sizeof path);

	if (size <= 0)
		return;
	(void)fputs(before, out);
	sp_print_safe(out, path, (size_t)size);
}

static void print_question(FILE *out, const struct sp_question *q)
{
	const int64_t left = (q->deadline - sp_now()) / 1000000000;

	(void)fputs("\r\nsallyport: ", out);
	sp_print_safe(out, q->rule, strlen(q->rule));
	(void)fputs(" asks", out);
	if (q->reason != NULL) {
		(void)fputs(": ", out);
		sp_print_safe(out, q->reason, strlen(q->reason));
	}
	(void)fputs("\n  ", out);
	print_command(out, q);
	(void)fprintf(out, "\n  by process %d", q->pid);
	print_link(out, ", which runs ", q->pid, "exe");
	print_link(out, ", in ", q->pid, "cwd");
	(void)fprintf(out, "\nAllow it? y once, j for this job, a always, n no, ? help  [%s in %" PRId64 " s] ",
		      sp_action_name(q->otherwise), left > 0 ? left : 0);
}

static const char help[] = "y   let it run, this once\n"
			   "n   refuse it, this once\n"
			   "j   let it run, and remember that as long as this job runs\n"
			   "a   let it run, and remember that for 30 days, under this policy file\n"
			   "    behind j and a: w  whatever follows the first word that is no option,\n"
			   "                    p  whatever its arguments; the rule is shown first\n"
			   "^D  leave it to `sallyport approve` or `sallyport deny`\n";

static void write_question(struct sp_prompt *p, const struct sp_question *q)
{
	cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return;
	print_question(out, q);
	if (fclose(out) == 0)
		write_out(p, text);
}

/* Once for each: how to answer it elsewhere. */
static void tell(struct sp_prompt *p, const struct sp_question *q)
{
	if (q->id <= p->told)
		return;
	p->told = q->id;
	(void)fputs("sallyport: ", stderr);
	sp_print_safe(stderr, q->rule, strlen(q->rule));
	(void)fputs(" asks: ", stderr);
	print_command(stderr, q);
	(void)fprintf(stderr, "; answer by `sallyport approve %016" PRIx64 "-%" PRIu64 "` or deny\n", sp_job_id(p->job),
		      q->id);
}

/* --- from one state to another --- */

static void forget_answer(struct sp_prompt *p)
{
	free(p->rule);
	p->rule = NULL;
	p->size = 0;
}

/* Nothing stands on the terminal any more; the job goes on. */
static void end(struct sp_prompt *p)
{
	if (p->state == ASKING || p->state == CONFIRMING) {
		(void)uv_poll_stop(&p->input);
		give_terminal_back(p);
	}
	if (p->state != IDLE && p->job != NULL)
		sp_job_let_go(p->job);
	p->state = IDLE;
	forget_answer(p);
}

static void on_timer(uv_timer_t *timer)
{
	consider(timer->data);
}

static void look_again(struct sp_prompt *p)
{
	(void)uv_timer_start(&p->timer, on_timer, LOOK_AGAIN_AFTER, 0);
}

static void give_answer(struct sp_prompt *p, const struct sp_answer *answer)
{
	const uint64_t id = p->question;
	struct sp_error e;

	/* The next one, if there is any, is put while the job still stands: on_questions() leaves that to us. */
	p->question = 0;
	if (sp_questions_answer(sp_job_questions(p->job), id, answer, &e) != 0 && e.err != ENOENT) {
		write_out(p, "sallyport: ");
		write_out(p, e.text);
		write_out(p, "\n");
	}
	forget_answer(p);
	if (next_question(p) == NULL) {
		end(p);
		return;
	}
	(void)tcflush(p->terminal, TCIFLUSH);
	show(p);
}

static void ask_to_confirm(struct sp_prompt *p, enum sp_remember remember, enum sp_scope scope)
{
	const struct sp_question *q = current(p);
	struct sp_error e;

	forget_answer(p);
	p->rule = sp_question_rule(q, SP_ALLOW, scope, &e);
	if (p->rule == NULL) {
		write_out(p, "sallyport: ");
		write_out(p, e.text);
		write_out(p, "\n");
		write_question(p, q);
		return;
	}
	p->answer = (struct sp_answer){.action = SP_ALLOW, .remember = remember, .scope = scope, .shown = p->rule};
	write_out(p, remember == SP_REMEMBER_JOB ? "For this job it is remembered that\n  "
						 : "For 30 days it is remembered that\n  ");
	write_out(p, p->rule);
	write_out(p, "\nIs that right? y or n ");
	p->state = CONFIRMING;
}

static void take_confirmation(struct sp_prompt *p)
{
	struct sp_answer answer = p->answer;
	char by[64];

	p->state = ASKING;
	if (strcmp(p->line, "y") != 0) {
		forget_answer(p);
		write_question(p, current(p));
		return;
	}
	(void)snprintf(by, sizeof by, "uid %u, on the job's terminal", getuid());
	answer.by = by;
	answer.expires = sp_now() + EXPIRES_DAYS * DAY;
	give_answer(p, &answer);
}

static bool read_scope(const char *word, enum sp_scope *scope)
{
	*scope = word[0] == 'w' ? SP_SCOPE_WORDS : word[0] == 'p' ? SP_SCOPE_PROGRAM : SP_SCOPE_EXACT;
	return word[0] == '\0' || (*scope != SP_SCOPE_EXACT && word[1] == '\0');
}

static void take_answer(struct sp_prompt *p)
{
	const bool yes = strcmp(p->line, "y") == 0, no = strcmp(p->line, "n") == 0;
	enum sp_scope scope;
	char by[64];

	if (yes || no) {
		(void)snprintf(by, sizeof by, "uid %u, on the job's terminal", getuid());
		const struct sp_answer answer = {.action = yes ? SP_ALLOW : SP_DENY, .by = by};
		give_answer(p, &answer);
		return;
	}
	if ((p->line[0] == 'j' || p->line[0] == 'a') && read_scope(p->line + 1, &scope)) {
		ask_to_confirm(p, p->line[0] == 'j' ? SP_REMEMBER_JOB : SP_REMEMBER_ALWAYS, scope);
		return;
	}
	p->size = 0;
	if (strcmp(p->line, "?") == 0)
		write_out(p, help);
	write_question(p, current(p));
}

/* --- events --- */

static void leave_to_others(struct sp_prompt *p)
{
	const struct sp_question *q = current(p);

	p->left = p->question;
	write_out(p, "\n");
	end(p);
	if (q != NULL)
		tell(p, q);
	look_again(p);
}

static void on_input(uv_poll_t *handle, int status, int events)
{
	struct sp_prompt *p = handle->data;
	char bytes[256];
	const ssize_t n = status == 0 ? read(p->terminal, bytes, sizeof bytes) : 0;

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) { /* it is not ours any more */
		end(p);
		look_again(p);
		return;
	}
	if (n == 0) {
		leave_to_others(p);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			p->line[p->size] = '\0';
			p->size = 0;
			if (p->state == CONFIRMING)
				take_confirmation(p);
			else
				take_answer(p);
			return; /* one line is one answer */
		}
		if (p->size < sizeof p->line - 1)
			p->line[p->size++] = bytes[i];
	}
}

static void show(struct sp_prompt *p)
{
	const struct sp_question *q = next_question(p);

	if (p->state == STOPPING) {
		take_terminal(p);
		(void)uv_poll_start(&p->input, UV_READABLE, on_input);
	}
	p->state = ASKING;
	p->question = q->id;
	p->told = q->id > p->told ? q->id : p->told;
	write_question(p, q);
}

/* Nobody runs who could read from it: but for those that cannot be interrupted, which do not read either. */
static void show_when_still(struct sp_prompt *p)
{
	const bool late = uv_now(p->timer.loop) - p->stopping_since > STAND_STILL_WITHIN;

	if (sp_job_running(p->job) > 0 && !late)
		return;
	if (next_question(p) != NULL && is_in_front(p) && !has_input(p)) {
		show(p);
		return;
	}
	end(p);
	look_again(p);
}

static void consider(struct sp_prompt *p)
{
	const struct sp_question *q = next_question(p);

	if (p->state == STOPPING) {
		look_again(p);
		show_when_still(p);
		return;
	}
	if (p->state != IDLE || q == NULL)
		return;
	if (!has_terminal(p)) {
		tell(p, q);
		p->left = q->id;
		consider(p);
		return;
	}
	look_again(p);
	if (!is_in_front(p) || has_input(p) || sp_job_is_frozen(p->job) || sp_job_hold(p->job) != 0) {
		tell(p, q);
		return;
	}
	if (!p->input_is_open) {
		p->input_is_open = uv_poll_init(p->timer.loop, &p->input, p->terminal) == 0;
		p->input.data = p;
		p->handles += p->input_is_open;
		if (p->input_is_open)
			uv_unref((uv_handle_t *)&p->input);
	}
	p->state = STOPPING;
	p->stopping_since = uv_now(p->timer.loop);
	if (!p->input_is_open) {
		p->here = false;
		end(p);
		consider(p);
		return;
	}
	show_when_still(p);
}

static void on_questions(struct sp_job *job, void *context)
{
	struct sp_prompt *p = context;

	if (job != p->job)
		return;
	if ((p->state == ASKING || p->state == CONFIRMING) && p->question != 0 && current(p) == NULL) {
		write_out(p, "\n  (needs no answer any more)\n");
		end(p);
	}
	if (p->state == IDLE && next_question(p) != NULL) /* not from within: somebody is at work on the list */
		(void)uv_timer_start(&p->timer, on_timer, 0, 0);
}

static void on_quiet(void *context)
{
	struct sp_prompt *p = context;

	if (p->state == STOPPING)
		show_when_still(p);
}

static void on_job_ended(struct sp_job *job, void *context)
{
	struct sp_prompt *p = context;

	if (job != p->job)
		return;
	p->job = NULL;
	end(p);
	(void)uv_timer_stop(&p->timer);
}

/* The program has the signal, too, but may be waiting for just this answer: a shell for its child, say. */
static void refuse(struct sp_prompt *p)
{
	const uint64_t id = p->question;
	struct sp_error e;
	char by[64];

	(void)snprintf(by, sizeof by, "uid %u, by an interrupt on the job's terminal", getuid());
	const struct sp_answer no = {.action = SP_DENY, .by = by};
	p->question = 0;
	(void)sp_questions_answer(sp_job_questions(p->job), id, &no, &e);
}

bool sp_prompt_signal(struct sp_prompt *p, int signal)
{
	if (p == NULL || p->job == NULL)
		return false;
	const bool asking = p->state == ASKING || p->state == CONFIRMING;
	if (asking && (signal == SIGINT || signal == SIGQUIT))
		refuse(p);
	end(p);
	look_again(p);
	return asking;
}

/* --- its own life --- */

struct sp_prompt *sp_prompt_new(uv_loop_t *loop, struct sp_engine *engine, struct sp_job *job, bool here)
{
	struct sp_prompt *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->engine = engine;
	p->job = job;
	p->here = here;
	p->terminal = -1;
	(void)uv_timer_init(loop, &p->timer);
	p->timer.data = p;
	p->handles = 1;
	uv_unref((uv_handle_t *)&p->timer);
	p->observer = (struct sp_engine_observer){
		.job_ended = on_job_ended, .quiet = on_quiet, .questions = on_questions, .context = p};
	sp_engine_observe(engine, &p->observer);
	return p;
}

static void on_closed(uv_handle_t *handle)
{
	struct sp_prompt *p = handle->data;

	if (--p->handles > 0)
		return;
	sp_close_fd(&p->terminal);
	free(p);
}

void sp_prompt_close(struct sp_prompt *p)
{
	if (p == NULL)
		return;
	end(p);
	sp_list_del(&p->observer.link);
	if (p->input_is_open)
		uv_close((uv_handle_t *)&p->input, on_closed);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}
