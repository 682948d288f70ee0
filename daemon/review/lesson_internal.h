/* What lesson.c (taking in), lesson_rules.c (which rules) and lesson_write.c (the file) share. */
#ifndef SP_REVIEW_LESSON_INTERNAL_H
#define SP_REVIEW_LESSON_INTERNAL_H

#include "policy/policy.h"
#include "review/lesson.h"
#include "review/notable.h"
#include "review/shape.h"

/* A job, and what in it varies from run to run. */
struct sp_lesson_job {
	int64_t number;
	char *command; /* as one line */
	char *work; /* its working directory */
	char *policy;
	struct sp_places places;
	pid_t *pids;
	size_t pid_count;
	struct sp_template *templates;
	size_t template_count;
	size_t execs, refused, failed;
};

/* One command line of a program, argv[0] left out. */
struct sp_usage {
	char *words; /* NUL-terminated, one after the other */
	size_t size, count;
	const struct sp_lesson_job *job;
	size_t times;
	bool reducible; /* to a tool's words, when there are too many */
	bool ran; /* false: the kernel has refused each of them */
	unsigned notable;
	size_t rule; /* index of the rule that allows it; SIZE_MAX: none does */
};

/* How much of the arguments a rule keeps. */
enum sp_lesson_level {
	SP_LESSON_WORDS,
	SP_LESSON_NAMES,
	SP_LESSON_KINDS,
	SP_LESSON_FIRST,
	SP_LESSON_FIRST_KIND,
	SP_LESSON_ALONE
};

/* What one pattern stands for: mostly one program. */
struct sp_student {
	char *pattern; /* as `program` of a rule has it */
	bool named; /* a bare name */
	bool anonymous;
	char *path; /* of one of them: the first in order */
	char *judged_path; /* the same, as this process sees it */
	struct sp_usage *usage; /* sorted */
	size_t usage_count, bytes;
	bool varies; /* too many to be kept */
	size_t ran, as_interpreter, headless;
	char *interpreter; /* of a script */
	unsigned notable;
	const struct sp_tool *tool;
	enum sp_lesson_level level;
	bool open_to_code; /* a rule against code on the command line would refuse what was seen */
};

struct sp_lesson {
	struct sp_lesson_job **jobs;
	size_t job_count;
	struct sp_student *students; /* sorted: names first, then by pattern */
	size_t student_count;
	char **foreign; /* paths that no rule can allow, sorted */
	size_t foreign_count;
	struct sp_policy *probe; /* an empty one: where names are searched */
};

enum sp_lesson_kind {
	SP_RULE_ANY, /* whatever its arguments */
	SP_RULE_ARGV,
	SP_RULE_NO_ARGUMENTS,
	SP_RULE_WORDS,
	SP_RULE_NO_CODE, /* denies */
};

struct sp_lesson_rule {
	char *id;
	const struct sp_student *student;
	enum sp_lesson_kind kind;
	struct sp_shape shape; /* ARGV */
	struct sp_alternatives words[2]; /* WORDS; the second may be empty */
	size_t times;
	unsigned notable;
	const struct sp_usage *example; /* the shortest that it allows, without secrets; NULL: none */
};

struct sp_lesson_rules {
	struct sp_lesson_rule *item;
	size_t count;
	bool ask; /* those that are marked ask a person */
};

/* lesson_rules.c: the rules of all students at their levels, sorted. */
[[nodiscard]] int sp_lesson_rules_make(const struct sp_lesson *lesson, struct sp_lesson_rules *rules);
void sp_lesson_rules_free(struct sp_lesson_rules *rules);
/* A level that lets more arguments pass; false: there is none. */
bool sp_lesson_widen(struct sp_student *student);

/* lesson_write.c: the file, with or without comments and tests. 0 or -ENOMEM. */
[[nodiscard]] int sp_lesson_print(FILE *out, const struct sp_lesson *lesson, const struct sp_lesson_rules *rules,
				  bool whole);

#endif
