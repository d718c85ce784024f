/* A shop over libpq: with_libpq ship ORDER PARCEL AMOUNT, or … outcomes */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <takings.h>

#define COLUMNS 5

static const char SHIPPED[] =
    "UPDATE parcel SET state = 'shipped' WHERE name = $1 AND state = 'packed'";
static const char ENDED[] = "UPDATE parcel SET state = $1 WHERE name = $2";
static const char NEWS[] =
    "UPDATE takings_capture SET seen_at = clock_timestamp() WHERE id = ANY (ARRAY ("
    " SELECT id FROM takings_capture"
    " WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at)"
    " ORDER BY settled_at LIMIT 100 FOR UPDATE SKIP LOCKED))"
    " RETURNING reference, state, coalesce(error_code, '-')";

/* Runs a statement. code has the SQLSTATE of one that failed. */
static bool run(PGconn *db, const char *sql, int count, const char *const *values, char code[6])
{
    PGresult *result = PQexecParams(db, sql, count, NULL, values, NULL, NULL, 0);
    bool is_well = PQresultStatus(result) == PGRES_COMMAND_OK;
    const char *said = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    snprintf(code, 6, "%s", said ? said : "");
    PQclear(result);
    return is_well;
}

/* Whether another transaction inserted the name first, or this one is out of
   order. */
static bool is_for_again(const char *code)
{
    return !strcmp(code, "23505") || !strcmp(code, "40001") || !strcmp(code, "40P01");
}

static bool ship(PGconn *db, const char *sql, const takings_intent_t *intent)
{
    const takings_value_t *values = takings_intent_values(intent);
    const char *texts[COLUMNS] = {NULL};
    char number[24];
    for (size_t i = 0; i < COLUMNS; i++) {
        const takings_value_t *value = takings_value_at(values, i);
        int64_t amount = 0;
        if (takings_value_integer(value, &amount)) {
            snprintf(number, sizeof number, "%lld", (long long)amount);
            texts[i] = number;
        } else {
            texts[i] = takings_value_text(value); /* NULL is SQL's NULL */
        }
    }
    const char *parcel = takings_intent_reference(intent);
    char code[6] = "";
    for (int tries = 0; tries < 3; tries++) {
        if (!run(db, "BEGIN", 0, NULL, code))
            return false;
        if (run(db, SHIPPED, 1, &parcel, code) && run(db, sql, COLUMNS, texts, code))
            return run(db, "COMMIT", 0, NULL, code);
        fputs(PQerrorMessage(db), stderr);
        char ended[6];
        if (!run(db, "ROLLBACK", 0, NULL, ended) || !is_for_again(code))
            return false;
    }
    return false;
}

static bool outcomes(PGconn *db)
{
    char code[6];
    if (!run(db, "BEGIN", 0, NULL, code))
        return false;
    PGresult *news = PQexec(db, NEWS);
    bool is_well = PQresultStatus(news) == PGRES_TUPLES_OK;
    int count = PQntuples(news);
    for (int row = 0; is_well && row < count; row++) {
        const char *values[] = {PQgetvalue(news, row, 1), PQgetvalue(news, row, 0)};
        is_well = run(db, ENDED, 2, values, code);
    }
    is_well = run(db, is_well ? "COMMIT" : "ROLLBACK", 0, NULL, code) && is_well;
    for (int row = 0; is_well && row < count; row++)
        printf("%s %s %s\n", PQgetvalue(news, row, 0), PQgetvalue(news, row, 1),
               PQgetvalue(news, row, 2));
    PQclear(news);
    return is_well;
}

/* The intent of the words of the command line. A request with order lines has
   more members. */
static takings_intent_t *intend(char **words, takings_error_t **error)
{
    char request[256];
    /* The name stands in JSON as it is. */
    if (strpbrk(words[1], "\"\\"))
        return NULL;
    int length = snprintf(request, sizeof request, "{\"reference\": \"%s\", \"captured_amount\": %s}",
                          words[1], words[2]);
    if (length < 0 || (size_t)length >= sizeof request)
        return NULL;
    return takings_intent_new("capture", words[0], request, error);
}

int main(int count, char **words)
{
    PGconn *db = PQconnectdb("");
    bool is_well = PQstatus(db) == CONNECTION_OK;
    if (!is_well) {
        fputs(PQerrorMessage(db), stderr);
    } else if (count == 5) {
        takings_error_t *error = NULL;
        takings_intent_t *intent = intend(words + 2, &error);
        char *sql = intent ? takings_intent_insert("capture", "$1", &error) : NULL;
        is_well = sql && ship(db, sql, intent);
        if (is_well)
            printf("%s shipped\n", words[3]);
        else if (error)
            fprintf(stderr, "%s\n", takings_error_message(error));
        takings_string_free(sql);
        takings_intent_free(intent);
        takings_error_free(error);
    } else {
        is_well = outcomes(db);
    }
    PQfinish(db);
    return is_well ? EXIT_SUCCESS : EXIT_FAILURE;
}
