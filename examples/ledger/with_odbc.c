/* A shop over ODBC: with_odbc CONNECTION ship ORDER PARCEL AMOUNT, or
   with_odbc CONNECTION outcomes. CONNECTION is like
   "Driver=PostgreSQL Unicode;Servername=db;Database=shop;UID=shop" */
#include <sql.h>
#include <sqlext.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <takings.h>

#define COLUMNS 5
#define MOST 100
#define WIDTH 256

static const char SHIPPED[] =
    "UPDATE parcel SET state = 'shipped' WHERE name = ? AND state = 'packed'";
static const char ENDED[] = "UPDATE parcel SET state = ? WHERE name = ?";
static const char NEWS[] =
    "UPDATE takings_capture SET seen_at = clock_timestamp() WHERE id = ANY (ARRAY ("
    " SELECT id FROM takings_capture"
    " WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at)"
    " ORDER BY settled_at LIMIT 100 FOR UPDATE SKIP LOCKED))"
    " RETURNING reference, state, coalesce(error_code, '-')";

/* Writes why it failed on standard error, and its SQLSTATE into code. */
static bool failed(SQLSMALLINT type, SQLHANDLE handle, char code[6])
{
    SQLCHAR text[512] = "no diagnosis";
    SQLCHAR state[6] = "";
    SQLGetDiagRec(type, handle, 1, state, NULL, text, sizeof text, NULL);
    memcpy(code, state, sizeof state);
    fprintf(stderr, "%s\n", (char *)text);
    return false;
}

static bool bind_text(SQLHSTMT statement, SQLUSMALLINT place, const char *text, SQLLEN *length)
{
    *length = text ? SQL_NTS : SQL_NULL_DATA;
    return SQL_SUCCEEDED(SQLBindParameter(statement, place, SQL_PARAM_INPUT, SQL_C_CHAR, SQL_VARCHAR,
                                          text && *text ? strlen(text) : 1, 0, (SQLPOINTER)text, 0,
                                          length));
}

static bool run(SQLHSTMT statement, const char *sql, char code[6])
{
    SQLRETURN ended = SQLExecDirect(statement, (SQLCHAR *)sql, SQL_NTS);
    /* An UPDATE or INSERT that finds nothing to do is no fault. */
    if (!SQL_SUCCEEDED(ended) && ended != SQL_NO_DATA)
        return failed(SQL_HANDLE_STMT, statement, code);
    return true;
}

static bool insert(SQLHSTMT statement, const char *sql, const takings_intent_t *intent, char code[6])
{
    const takings_value_t *values = takings_intent_values(intent);
    SQLLEN lengths[COLUMNS] = {0};
    SQLBIGINT amount = takings_intent_captured_amount(intent);
    for (SQLUSMALLINT i = 0; i < COLUMNS; i++) {
        const takings_value_t *value = takings_value_at(values, i);
        bool is_amount = takings_value_kind(value) == TAKINGS_VALUE_INTEGER;
        bool is_bound =
            is_amount ? SQL_SUCCEEDED(SQLBindParameter(statement, i + 1, SQL_PARAM_INPUT, SQL_C_SBIGINT,
                                                       SQL_BIGINT, 0, 0, &amount, 0, &lengths[i]))
                      : bind_text(statement, i + 1, takings_value_text(value), &lengths[i]);
        if (!is_bound)
            return failed(SQL_HANDLE_STMT, statement, code);
    }
    return run(statement, sql, code);
}

static bool shipped(SQLHDBC db, const char *sql, const takings_intent_t *intent, char code[6])
{
    SQLHSTMT statement = NULL;
    SQLLEN length = 0;
    SQLAllocHandle(SQL_HANDLE_STMT, db, (SQLHANDLE *)&statement);
    bool is_well = bind_text(statement, 1, takings_intent_reference(intent), &length) &&
                   run(statement, SHIPPED, code);
    SQLFreeStmt(statement, SQL_RESET_PARAMS);
    is_well = is_well && insert(statement, sql, intent, code);
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
    return is_well;
}

/* Whether another transaction inserted the name first, or this one is out of
   order. */
static bool is_for_again(const char *code)
{
    return !strcmp(code, "23505") || !strcmp(code, "40001") || !strcmp(code, "40P01");
}

static bool ship(SQLHDBC db, const char *sql, const takings_intent_t *intent)
{
    char code[6] = "";
    for (int tries = 0; tries < 3; tries++) {
        if (shipped(db, sql, intent, code))
            return SQL_SUCCEEDED(SQLEndTran(SQL_HANDLE_DBC, db, SQL_COMMIT)) ||
                   failed(SQL_HANDLE_DBC, db, code);
        if (!SQL_SUCCEEDED(SQLEndTran(SQL_HANDLE_DBC, db, SQL_ROLLBACK)) || !is_for_again(code))
            return false;
    }
    return false;
}

static bool outcomes(SQLHDBC db)
{
    static char news[MOST][3][WIDTH];
    char code[6];
    SQLHSTMT statement = NULL;
    int count = 0;
    SQLAllocHandle(SQL_HANDLE_STMT, db, (SQLHANDLE *)&statement);
    bool is_well = run(statement, NEWS, code);
    while (is_well && count < MOST && SQL_SUCCEEDED(SQLFetch(statement))) {
        for (SQLUSMALLINT i = 0; i < 3; i++)
            SQLGetData(statement, i + 1, SQL_C_CHAR, news[count][i], WIDTH, NULL);
        count++;
    }
    SQLFreeStmt(statement, SQL_CLOSE);
    for (int row = 0; is_well && row < count; row++) {
        SQLLEN lengths[2];
        is_well = bind_text(statement, 1, news[row][1], &lengths[0]) &&
                  bind_text(statement, 2, news[row][0], &lengths[1]) && run(statement, ENDED, code);
    }
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
    is_well = SQL_SUCCEEDED(SQLEndTran(SQL_HANDLE_DBC, db, is_well ? SQL_COMMIT : SQL_ROLLBACK)) &&
              is_well;
    for (int row = 0; is_well && row < count; row++)
        printf("%s %s %s\n", news[row][0], news[row][1], news[row][2]);
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
    SQLHENV odbc = NULL;
    SQLHDBC db = NULL;
    char code[6];
    if (count < 3)
        return EXIT_FAILURE;
    SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, (SQLHANDLE *)&odbc);
    SQLSetEnvAttr(odbc, SQL_ATTR_ODBC_VERSION, (SQLPOINTER)SQL_OV_ODBC3, 0);
    SQLAllocHandle(SQL_HANDLE_DBC, odbc, (SQLHANDLE *)&db);
    bool is_open = SQL_SUCCEEDED(SQLDriverConnect(db, NULL, (SQLCHAR *)words[1], SQL_NTS, NULL, 0, NULL,
                                                  SQL_DRIVER_NOPROMPT));
    /* The shop's statements and the row are one transaction. */
    bool is_well = (is_open && SQL_SUCCEEDED(SQLSetConnectAttr(db, SQL_ATTR_AUTOCOMMIT,
                                                               (SQLPOINTER)SQL_AUTOCOMMIT_OFF, 0))) ||
                   failed(SQL_HANDLE_DBC, db, code);
    if (is_well && count == 6) {
        takings_error_t *error = NULL;
        takings_intent_t *intent = intend(words + 3, &error);
        char *sql = intent ? takings_intent_insert("capture", "?", &error) : NULL;
        is_well = sql && ship(db, sql, intent);
        if (is_well)
            printf("%s shipped\n", words[4]);
        else if (error)
            fprintf(stderr, "%s\n", takings_error_message(error));
        takings_string_free(sql);
        takings_intent_free(intent);
        takings_error_free(error);
    } else if (is_well) {
        is_well = outcomes(db);
    }
    if (is_open)
        SQLDisconnect(db);
    SQLFreeHandle(SQL_HANDLE_DBC, db);
    SQLFreeHandle(SQL_HANDLE_ENV, odbc);
    return is_well ? EXIT_SUCCESS : EXIT_FAILURE;
}
