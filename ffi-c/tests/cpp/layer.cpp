/*
 * takings.hpp: structs, exceptions, ownership.
 *
 *     layer BASE_URL ORDER LOST_ORDER
 *
 * The answer to the first capture of LOST_ORDER gets lost. KLARNA_BASE_URL, KLARNA_USERNAME and
 * KLARNA_PASSWORD name the same sandbox.
 */
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "takings.hpp"

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            std::cerr << __FILE__ << ":" << __LINE__ << ": not so: " << #condition << std::endl; \
            std::abort();                                                                         \
        }                                                                                         \
    } while (0)

// Whole numbers come from integers and from nothing else.
template <typename T>
constexpr bool makes_a_whole = std::is_constructible_v<takings::whole, T>;
static_assert(makes_a_whole<int> && makes_a_whole<short> && makes_a_whole<long> && makes_a_whole<long long>);
static_assert(makes_a_whole<unsigned> && makes_a_whole<std::int8_t> && makes_a_whole<std::uint8_t>);
static_assert(!makes_a_whole<double> && !makes_a_whole<float> && !makes_a_whole<long double>);
static_assert(!makes_a_whole<bool> && !makes_a_whole<char> && !makes_a_whole<wchar_t> && !makes_a_whole<char16_t>);
static_assert(!makes_a_whole<std::uint64_t> && !makes_a_whole<const char *> && !makes_a_whole<std::string>);
static_assert(!makes_a_whole<std::nullptr_t> && !makes_a_whole<std::chrono::seconds>);

// Yes and no come from bool and from nothing else, through std::optional too.
template <typename T>
constexpr bool makes_a_setting = std::is_constructible_v<takings::flag, T> &&
                                 std::is_assignable_v<decltype(takings::config::reconcile) &, T> &&
                                 std::is_assignable_v<decltype(takings::config::accept_unknown_values) &, T>;
template <typename T>
constexpr bool makes_no_setting = !std::is_constructible_v<takings::flag, T> &&
                                  !std::is_assignable_v<decltype(takings::config::reconcile) &, T> &&
                                  !std::is_assignable_v<decltype(takings::config::accept_unknown_values) &, T>;
static_assert(makes_a_setting<bool> && makes_a_setting<bool &> && makes_a_setting<const bool &>);
static_assert(makes_a_setting<takings::flag> && !makes_no_setting<std::optional<bool>>);
static_assert(std::is_assignable_v<std::optional<takings::flag> &, std::optional<bool>>);
static_assert(std::is_assignable_v<std::optional<takings::flag> &, std::nullopt_t>);
static_assert(makes_no_setting<const char *> && makes_no_setting<const char (&)[6]> && makes_no_setting<std::string>);
static_assert(makes_no_setting<double> && makes_no_setting<int> && makes_no_setting<char> && makes_no_setting<void *>);
static_assert(makes_no_setting<std::nullptr_t> && makes_no_setting<takings::whole> && makes_no_setting<std::int64_t>);
static_assert(std::is_convertible_v<takings::flag, bool>);

// Texts come from texts, never from a number; those that may be absent too.
template <typename T>
constexpr bool makes_a_text = std::is_constructible_v<takings::order_line, T, int, int, int> &&
                              std::is_constructible_v<takings::subscription, T, T, int> &&
                              std::is_assignable_v<decltype(takings::order_line::name) &, T> &&
                              std::is_assignable_v<decltype(takings::subscription::interval) &, T> &&
                              std::is_assignable_v<decltype(takings::order_line::reference) &, T>;
template <typename T>
constexpr bool makes_no_text = !std::is_constructible_v<takings::order_line, T, int, int, int> &&
                               !std::is_constructible_v<takings::subscription, T, const char *, int> &&
                               !std::is_constructible_v<takings::subscription, const char *, T, int> &&
                               !std::is_assignable_v<decltype(takings::order_line::name) &, T> &&
                               !std::is_assignable_v<decltype(takings::subscription::name) &, T> &&
                               !std::is_assignable_v<decltype(takings::subscription::interval) &, T>;
template <typename T>
constexpr bool makes_no_optional_text = !std::is_assignable_v<decltype(takings::order_line::reference) &, T> &&
                                        !std::is_assignable_v<decltype(takings::config::password) &, T>;
static_assert(makes_a_text<const char *> && makes_a_text<const char (&)[6]> && makes_a_text<char *>);
static_assert(makes_a_text<std::string> && makes_a_text<std::string &> && makes_a_text<const std::string &>);
static_assert(makes_a_text<std::string_view> && makes_a_text<takings::text> && makes_a_text<const takings::text &>);
static_assert(makes_no_text<int> && makes_no_text<char> && makes_no_text<bool> && makes_no_text<double>);
static_assert(makes_no_text<std::int64_t> && makes_no_text<std::size_t> && makes_no_text<std::nullptr_t>);
static_assert(makes_no_text<takings::whole> && makes_no_text<takings::flag> && makes_no_text<std::optional<std::string>>);
static_assert(makes_no_optional_text<int> && makes_no_optional_text<char> && makes_no_optional_text<bool>);
static_assert(makes_no_optional_text<double> && makes_no_optional_text<std::int64_t>);
static_assert(std::is_nothrow_move_constructible_v<takings::text>);

// A client is owned once; a copy of an exception cannot fail.
static_assert(!std::is_copy_constructible_v<takings::client> && std::is_nothrow_move_constructible_v<takings::client>);
static_assert(!std::is_copy_constructible_v<takings::call>);
static_assert(std::is_nothrow_move_constructible_v<takings::call>);
static_assert(std::is_same_v<decltype(takings::minor("1", "EUR")), takings::amount>);
static_assert(std::is_nothrow_copy_constructible_v<takings::rejected>);
static_assert(!std::is_constructible_v<std::optional<takings::text>, std::nullptr_t>);
static_assert(std::is_base_of_v<std::runtime_error, takings::error>);

template <typename Error, typename Call>
Error thrown(Call call) {
    try {
        call();
    } catch (const Error &error) {
        return error;
    } catch (const takings::error &error) {
        std::cerr << "another kind: " << error.kind_name() << ": " << error.what() << std::endl;
        std::abort();
    }
    std::cerr << "nothing was thrown" << std::endl;
    std::abort();
}

static takings::config sandbox(const char *base_url) {
    takings::config config;
    config.base_url = base_url;
    config.username = "sandbox";
    config.password = "sandbox";
    config.connect_timeout = std::chrono::seconds(2);
    config.attempt_timeout = std::chrono::seconds(10);
    config.timeout = std::chrono::seconds(20);
    config.max_attempts = 1;
    config.backoff = std::chrono::milliseconds(1);
    config.max_backoff = std::chrono::milliseconds(2);
    config.user_agent_suffix = "layer/1";
    config.check_lines = "warn";
    config.accept_unknown_values = true;
    config.reconcile = false;
    return config;
}

static takings::capture_request everything() {
    takings::order_line line("Tomatoes \"red\" \\ \xc3\xb6", 10, 600, 6000);
    line.type = "physical";
    line.reference = "123050";
    line.quantity_unit = "kg";
    line.tax_rate = 2500;
    line.total_discount_amount = 0;
    line.total_tax_amount = 1200;
    line.merchant_data = "data";
    line.product_url = "https://shop.example/tomatoes";
    line.image_url = "https://shop.example/tomatoes.png";
    takings::product_identifiers identifiers;
    identifiers.brand = "brand";
    identifiers.category_path = "food > fruit";
    identifiers.global_trade_item_number = "735858293167";
    identifiers.manufacturer_part_number = "BOE-123";
    identifiers.color = "red";
    identifiers.size = "small";
    line.product_identifiers = identifiers;
    line.subscription = takings::subscription("monthly", "MONTH", 1);

    takings::shipping_info parcel;
    parcel.shipping_company = "DHL US";
    parcel.shipping_method = "Home";
    parcel.tracking_number = "63456415674545679874";
    parcel.tracking_uri = "https://shipping.example/1";
    parcel.return_shipping_company = "DHL US";
    parcel.return_tracking_number = "93456415674545679888";
    parcel.return_tracking_uri = "https://shipping.example/2";

    takings::capture_request request(6000);
    request.reference = "parcel-1";
    request.description = "Shipped";
    request.order_lines = {line};
    request.shipping_info = {parcel, takings::shipping_info()};
    request.shipping_delay = 0;
    return request;
}

// A program reads these fields back as bool and std::string.
static void read_back() {
    takings::config config;
    CHECK(!config.reconcile && config.reconcile == std::nullopt && !config.reconcile.value_or(false));
    config.reconcile = std::optional<bool>(true);
    CHECK(config.reconcile && *config.reconcile && config.reconcile == true && config.reconcile != false);
    const bool asked = config.reconcile.value();
    CHECK(asked && config.reconcile.value_or(false));
    config.reconcile = {};
    CHECK(!config.reconcile);
    config.reconcile.emplace(false);
    CHECK(config.reconcile == false && (*config.reconcile ? 1 : 2) == 2);

    takings::order_line line(std::string_view("Shirt, red").substr(0, 5), 1, 1, 1);
    const std::string shirt = "Shirt";
    CHECK(line.name == "Shirt" && line.name == shirt && line.name == std::string_view("Shirt") && shirt == line.name);
    line.name = shirt + " XL";
    CHECK(line.name.size() == 8 && line.name + "!" == "Shirt XL!" && std::strlen(line.name.c_str()) == 8);
    line.name = std::string_view(shirt);
    line.name += ", blue";
    const std::string &name = line.name;
    const std::string copy = line.name;
    const std::string_view view = line.name;
    CHECK(name == copy && view == copy && (copy.empty() ? "none" : line.name) == copy);
    const takings::order_line other = line;
    CHECK(other.name == line.name && !(other.name != line.name) && !(other.name < line.name));
    std::ostringstream out;
    out << line.name;
    CHECK(out.str() == "Shirt, blue");
#ifdef __cpp_lib_format
    CHECK(std::format("{}", line.name) == copy);
#endif
    const std::string taken = std::move(line.name);
    CHECK(taken == copy);
    line.name = {};
    CHECK(line.name.empty());
}

// No argument makes an exception of another family: NULL, an embedded NUL, what is moved from, what does not fit.
static void one_family(const char *base_url) {
    const char *const null = nullptr;
    char *const writable = nullptr;
    const std::string cut("a\0b", 3);
    const takings::client client(sandbox(base_url));
    const takings::capture_request request(1);
    takings::order_line line("a", 1, 1, 1);
    takings::config settings;
    const auto refused = [](auto call) { return thrown<takings::invalid_input>(call).message(); };

    const std::string says = "a text is NULL; it must be a string";
    CHECK(refused([&] { takings::client made(null); }) == says);
    CHECK(refused([&] { takings::client::from_env(null); }) == says);
    CHECK(refused([&] { client.capture(null, request); }) == says);
    CHECK(refused([&] { client.capture(writable, request); }) == says);
    CHECK(refused([&] { client.capture("o", null); }) == says);
    CHECK(refused([&] { client.capture("o", request, null); }) == says);
    CHECK(refused([&] { client.prepare("o", request, null); }) == says);
    CHECK(refused([&] { client.reconcile("o", null, 1); }) == says);
    CHECK(refused([&] { client.call(null, "o", "{}"); }) == says);
    CHECK(refused([&] { client.prepare_call("capture", "o", null); }) == says);
    CHECK(refused([&] { takings::idempotency_key("o", null); }) == says);
    CHECK(refused([&] { takings::minor(null, "EUR"); }) == says);
    CHECK(refused([&] { takings::order_line(null, 1, 1, 1); }) == says);
    CHECK(refused([&] { line.name = null; }) == says);
    CHECK(refused([&] { line.reference = null; }) == says);
    CHECK(refused([&] { settings.password = null; }) == says);

    CHECK(refused([&] { takings::client made(cut); }).find("config_json is a text with a NUL") == 0);
    CHECK(refused([&] { takings::client::from_env(cut); }).find("config_json is a text with a NUL") == 0);
    CHECK(refused([&] { client.capture(cut, request); }).find("order_id is a text with a NUL") == 0);
    CHECK(refused([&] { client.capture("o", request, cut); }).find("idempotency_key is a text with a NUL") == 0);
    CHECK(refused([&] { client.reconcile("o", cut, 1); }).find("reference is a text with a NUL") == 0);
    line.name = cut;
    takings::capture_request with_nul(1);
    with_nul.order_lines = {line};
    CHECK(refused([&] { client.capture("o", with_nul); }).find("order_lines[0].name is a string with") == 0);
    takings::capture_request early(1);
    early.first_used = std::chrono::system_clock::time_point::min();
    CHECK(refused([&] { client.capture("o", early, "k"); }).find("first_used is -") == 0);
    for (const auto time : {std::chrono::milliseconds::max(), std::chrono::milliseconds::min()}) {
        takings::config odd = sandbox(base_url);
        odd.timeout = time;
        CHECK(refused([&] { takings::client made(odd); }).find("timeout_ms is ") == 0);
    }

    // a report of what was sent never throws, since nobody may take it for a call that sent nothing
    takings::call call = client.prepare("o", request);
    CHECK(call.start() == TAKINGS_STEP_SEND);
    call.answer_header(null, cut);
    CHECK(call.answer_body(null) && call.answer_body(std::string_view()) && call.answer_body(cut));
    CHECK(call.maybe_sent(null) != TAKINGS_STEP_NONE);

    // moved from: nothing to do, and an error keeps its fields
    takings::call taken = std::move(call);
    CHECK(call.start() == TAKINGS_STEP_NONE && call.not_sent(null) == TAKINGS_STEP_NONE); // NOLINT
    CHECK(call.order_id().empty() && call.headers().empty() && call.body().empty() && !call.idempotency_key());
    CHECK(refused([&] { call.capture(); }).find("call is NULL") == 0);
    CHECK(refused([&] { call.reconciliation(); }).find("call is NULL") == 0);
    CHECK(refused([&] { call.reply(); }).find("call is NULL") == 0);
    auto error = thrown<takings::invalid_input>([&] { client.capture("", request); });
    const takings::invalid_input other = std::move(error);
    CHECK(error.message() == other.message() && error.kind() == TAKINGS_ERROR_INVALID_INPUT);
    takings::config given = sandbox(base_url);
    takings::config kept = std::move(given);
    CHECK(!refused([&] { takings::client made(given); }).empty());
    takings::client first(kept);
    takings::client second = std::move(first);
    CHECK(first.base_url().empty() && refused([&] { first.capture("o", request); }).find("client is NULL") == 0);
}

/* Documents are structs; what can be sent back has the types of requests. */
static void documents(const char *base_url) {
    const takings::client client(sandbox(base_url));
    const std::string body =
        R"({"order_id":"an order","status":"AUTHORIZED","order_amount":6000.5,"locale":"","captured_amount":7,)"
        R"("expires_at":"2026-12-24T00:00:00Z","merchant_data":null,"shipping_address":{"city":"Bremen"},)"
        R"("customer":{"type":"person"},"order_lines":[{"name":"a","quantity":1,"unit_price":2}],)"
        R"("captures":[{"capture_id":"c-1","order_lines":[{"name":"a","quantity":1,"unit_price":2,"total_amount":2,)"
        R"("product_identifiers":{"brand":"b"}}]}],"new_member":1})";
    takings::call call = client.prepare_get_order("an order");
    CHECK(call.start() == TAKINGS_STEP_SEND);
    CHECK(call.answer_body(body) && call.answered(200) == TAKINGS_STEP_DONE);
    const takings::order order = call.order();
    CHECK(order.status == takings::order_status::authorized && order.order_id == "an order" && order.raw == body);
    CHECK(!order.order_amount && order.captured_amount == 7 && order.locale == "" && !order.merchant_data);
    CHECK(order.warnings.size() == 1 && order.attempts == 1 && order.attempt_log.size() == 1);
    CHECK(order.expires_at == std::chrono::system_clock::time_point(std::chrono::seconds(1798070400)));
    CHECK(order.customer && order.customer->type == "person" && order.refunds.empty() && !order.billing_address);
    CHECK(order.shipping_address && order.shipping_address->city == "Bremen" && order.shipping_info.empty());
    // a line without a total is none that a request could have
    CHECK(order.order_lines.empty());
    CHECK(order.captures.size() == 1 && order.captures[0].capture_id == "c-1" && !order.captures[0].captured_amount);
    CHECK(order.captures[0].raw.find("{\"capture_id\"") == 0);
    takings::refund_request request(2);
    request.order_lines = order.captures[0].order_lines;
    CHECK(request.order_lines->size() == 1 && (*request.order_lines)[0].name == "a");
    CHECK((*request.order_lines)[0].total_amount.value() == 2);
    CHECK((*request.order_lines)[0].product_identifiers->brand == "b");
    try {
        call.captures();
        std::abort();
    } catch (const takings::internal_error &) {
    }
}

/* Looks at calls before they are made, and rows for a ledger. */
static void offline() {
    takings::order order;
    order.raw = R"({"status": "AUTHORIZED", "order_amount": 6000, "expires_at": "2026-12-24T00:00:00Z"})";
    takings::capture_request request(6000);
    CHECK(order.check_capture(request).empty());
    order.answered_at = std::chrono::system_clock::time_point(std::chrono::seconds(1800000000));
    CHECK(order.check_capture(request).at(0).find("expires_at is 2026-12-24") == 0);
    CHECK(order.check_capture("{\"captured_amount\": \"60.00\"}").at(0).find("captured_amount is") == 0);
    CHECK(order.check_refund(takings::refund_request(1)).at(0).find("captured_amount of the order is 0") == 0);
    order.raw = "[";
    const auto none = thrown<takings::invalid_input>([&] { order.check_capture(request); });
    CHECK(none.message().find("order is not an order's JSON text") == 0);

    const char *id = "f3392f8b-6116-4073-ab96-e330819e2c07";
    request.reference = "parcel-1";
    const auto row = takings::intent::capture(id, request);
    CHECK(row.operation == "capture" && row.table == "takings_capture" && row.account == "default");
    CHECK(row.order_id == id && row.reference == "parcel-1" && !row.request && row.warnings.empty());
    CHECK(row.captured_amount == 6000 && !row.refunded_amount);
    CHECK(row.idempotency_key == "e642b253-7331-5441-bb3d-c291abd550aa");
    CHECK(row.insert("$1").find("($1, $2, $3, $4, $5)") != std::string::npos);
    thrown<takings::invalid_input>([&] { row.insert("@p1"); });
    takings::refund_request back(100);
    back.reference = "return-1";
    CHECK(takings::intent::refund(id, back).refunded_amount == 100);
    CHECK(takings::intent::from_json("refund", id, R"({"refunded_amount": 1, "reference": "r", "account": "se"})").account == "se");
    request.timeout = std::chrono::seconds(3);
    thrown<takings::invalid_input>([&] { takings::intent::capture(id, request); });
    thrown<takings::invalid_input>([&] { takings::intent::from_json("capture", std::string("o\0", 2), "{}"); });
}

int main(int count, char **arguments) {
    read_back();
    CHECK(count == 4);
    const std::string order_id = arguments[2], lost_order_id = arguments[3];
    takings::client client(sandbox(arguments[1]));
    CHECK(client.base_url().find(arguments[1]) == 0);
    CHECK(takings::version() == TAKINGS_VERSION);
    one_family(arguments[1]);
    documents(arguments[1]);

    // typed and as text; the same key, the same capture
    const std::string key = takings::idempotency_key(order_id, "parcel-1");
    const takings::capture capture = client.capture(order_id, everything(), key);
    CHECK(!capture.capture_id.empty() && capture.order_id == order_id && capture.idempotency_key == key);
    CHECK(capture.correlation_id && capture.attempts == 1 && capture.warnings.empty());
    CHECK(capture.attempt_log.size() == 1);
    const takings::attempt &attempt = capture.attempt_log.front();
    CHECK(attempt.sent.find("POST ") == 0 && attempt.came_back == "201" && attempt.http_status == 201);
    CHECK(attempt.correlation_id == capture.correlation_id && !attempt.error_code && !attempt.wait);
    CHECK(attempt.started <= std::chrono::system_clock::now() && attempt.took < std::chrono::seconds(20));
    CHECK(attempt.started > std::chrono::system_clock::now() - std::chrono::minutes(5));
    CHECK(client.capture(order_id, everything(), key).capture_id == capture.capture_id);
    const takings::capture text = client.capture(order_id, "{\"captured_amount\": 2}");
    CHECK(text.capture_id != capture.capture_id && text.idempotency_key.size() == 36);
    takings::capture_request small(1);
    small.order_lines = {takings::order_line("a", 1, 1, 2)};
    CHECK(client.capture(order_id, small).warnings.size() == 2);
    small.order_lines.emplace(); // an empty list is sent as one
    client.capture(order_id, small);

    takings::capture_request named(1);
    named.reference = "find-me";
    CHECK(client.reconcile(order_id, "find-me", 1).found == TAKINGS_FOUND_NEVER);
    const takings::capture first = client.capture(order_id, named);
    CHECK(client.reconcile(order_id, "find-me", 1).capture_id() == first.capture_id);
    client.capture(order_id, named);
    const takings::reconciliation found = client.reconcile(order_id, "find-me", 1);
    CHECK(found.found == TAKINGS_FOUND_SEVERAL && found.capture_ids.size() == 2 && !found.capture_id());
    CHECK(found.order_id == order_id && found.correlation_id && found.attempts == 1);
    CHECK(found.attempt_log.size() == 1 && found.attempt_log.front().sent.find("GET ") == 0);
    CHECK(thrown<takings::outcome_unknown>([&] { client.reconcile("no-such-order", "r", 1); }).http_status() == 404);

    // a call below the order takes its id behind the order's
    const takings::shipping_info parcel = [] {
        takings::shipping_info made;
        made.shipping_company = "DHL";
        made.tracking_number = "JD014600";
        return made;
    }();
    CHECK(client.get_capture(order_id, first.capture_id).raw.find("JD014600") == std::string::npos);
    client.append_shipping_info(order_id, first.capture_id, {parcel}, "shipping-1");
    CHECK(client.prepare_append_shipping_info(order_id, first.capture_id, {parcel}).order_id() == order_id);
    CHECK(client.get_capture(order_id, first.capture_id).raw.find("JD014600") != std::string::npos);

    // a client beside another has limits of its own, and outlives the other
    takings::options limits;
    limits.max_attempts = 1;
    limits.timeout = std::chrono::seconds(5);
    const takings::client quick = takings::client::from_env().with_options(limits);
    CHECK(quick.base_url() == client.base_url());
    CHECK(quick.get_order(order_id).attempts == 1);
    limits.timeout = std::chrono::milliseconds(0);
    CHECK(thrown<takings::invalid_input>([&] { client.with_options(limits); }).message().find("timeout_ms is 0") == 0);
    const char *const many = "{\"max_attempts\": 21}";
    CHECK(thrown<takings::invalid_input>([&] { client.with_options(many); }).message().find("max_attempts is 21") == 0);

    // each kind has its class, and the fields outlive the client
    const auto rejected = thrown<takings::rejected>([&] {
        const takings::client short_lived = takings::client::from_env();
        takings::capture_request first(1);
        first.first_use = true;
        short_lived.capture("no-such-order", first, "key-1");
    });
    CHECK(rejected.kind() == TAKINGS_ERROR_REJECTED && rejected.kind_name() == "rejected");
    CHECK(rejected.http_status() == 404 && rejected.error_code() == "NO_SUCH_ORDER");
    CHECK(rejected.error_messages().size() == 1 && rejected.correlation_id() && rejected.order_id() == "no-such-order");
    CHECK(rejected.idempotency_key() == "key-1" && rejected.attempts() == 1 && !rejected.retryable());
    CHECK(rejected.attempt_log().size() == 1 && rejected.attempt_log().front().error_code == "NO_SUCH_ORDER");
    CHECK(rejected.what() == rejected.message() && !rejected.message().empty());

    // settings count before the environment
    takings::config elsewhere;
    elsewhere.base_url = "http://127.0.0.1:1/";
    CHECK(takings::client::from_env(elsewhere).base_url() == "http://127.0.0.1:1/");
    CHECK(takings::client::from_env("{\"base_url\": \"http://127.0.0.1:2/\"}").base_url() == "http://127.0.0.1:2/");
    elsewhere.max_attempts = 0;
    const auto setting = thrown<takings::invalid_input>([&] { takings::client::from_env(elsewhere); });
    CHECK(setting.message().find("max_attempts is 0") == 0);

    const auto unknown = thrown<takings::outcome_unknown>([&] {
        client.capture(lost_order_id, takings::capture_request(7));
    });
    CHECK(unknown.retryable() && unknown.idempotency_key());
    client.capture(lost_order_id, takings::capture_request(7), unknown.idempotency_key());

    const auto not_sent = thrown<takings::not_sent>([&] {
        takings::client(sandbox("http://127.0.0.1:1")).capture("order", takings::capture_request(1));
    });
    CHECK(not_sent.retryable() && !not_sent.http_status() && !not_sent.error_code());

    // refused, with the path
    takings::capture_request wrong = everything();
    wrong.order_lines->front().quantity = -1;
    const auto path = thrown<takings::invalid_input>([&] { client.capture(order_id, wrong); });
    CHECK(path.message().find("order_lines[0].quantity is -1") == 0);
    CHECK(path.order_id() == order_id);
    wrong = everything();
    wrong.description = std::string("a\0b", 3);
    const auto control = thrown<takings::invalid_input>([&] { client.capture(order_id, wrong); });
    CHECK(control.message().find("description is ") == 0);
    wrong = everything();
    wrong.description = "\xc3\x28";
    thrown<takings::invalid_input>([&] { client.capture(order_id, wrong); });
    takings::config no_password = sandbox(arguments[1]);
    no_password.password.reset();
    thrown<takings::invalid_input>([&] { takings::client refused(no_password); });
    thrown<takings::invalid_input>([&] { takings::client refused("{\"regoin\": \"eu\"}"); });
    thrown<takings::invalid_input>([&] { takings::idempotency_key(order_id, ""); });
    CHECK(takings::new_idempotency_key() != takings::new_idempotency_key());

    // a NUL does not cut a text short
    const std::string cut = order_id + std::string("\0more", 5);
    const auto nul = thrown<takings::invalid_input>([&] { client.capture(cut, takings::capture_request(1)); });
    CHECK(nul.message().find("order_id is a text with a NUL") == 0 && nul.kind() == TAKINGS_ERROR_INVALID_INPUT);
    const std::string cut_request("{\"captured_amount\": 1}\0more", 27);
    thrown<takings::invalid_input>([&] { client.capture(order_id, cut_request); });
    thrown<takings::invalid_input>([&] { client.capture(order_id, takings::capture_request(1), cut); });
    thrown<takings::invalid_input>([&] { takings::idempotency_key(cut, "parcel-1"); });
    thrown<takings::invalid_input>([&] { takings::idempotency_key(order_id, cut); });

    // a call that this program sends by itself; that is, it only says so
    takings::call call = client.prepare(order_id, takings::capture_request(3), "key-2");
    CHECK(call.order_id() == order_id && call.idempotency_key() == "key-2");
    CHECK(call.time().count() == 0 && call.method().empty() && call.headers().empty());
    CHECK(thrown<takings::outcome_unknown>([&] { call.capture(); }).idempotency_key() == "key-2");
    CHECK(call.start() == TAKINGS_STEP_SEND);
    CHECK(call.method() == "POST" && call.url().find(client.base_url().substr(0, 20)) == 0);
    CHECK(call.body() == "{\"captured_amount\":3}" && call.headers().size() > 3);
    CHECK(call.time() > call.connect_timeout() && call.connect_timeout().count() > 0);
    CHECK(call.maybe_sent("a reset") == TAKINGS_STEP_DONE); // max_attempts is 1
    CHECK(thrown<takings::outcome_unknown>([&] { call.capture(); }).attempt_log().front().came_back == "a reset");
    takings::call second = client.prepare(order_id, "{\"captured_amount\": 3}", "key-2");
    call = std::move(second);
    CHECK(second.start() == TAKINGS_STEP_NONE && call.start() == TAKINGS_STEP_SEND);
    thrown<takings::invalid_input>([&] { second.capture(); });
    call.answer_header("capture-id", "4ba29b50-be7b-44f5-a492-113e6a865e22");
    CHECK(call.answer_body("") && !call.answer_body(std::string(call.most_answer(), ' ')));
    CHECK(call.answered(201) == TAKINGS_STEP_DONE && call.waited() == TAKINGS_STEP_DONE);
    CHECK(call.capture().capture_id == "4ba29b50-be7b-44f5-a492-113e6a865e22");
    thrown<takings::internal_error>([&] { call.reconciliation(); });
    takings::call look = client.prepare_reconcile(order_id, "find-me", 1);
    CHECK(look.start() == TAKINGS_STEP_SEND && look.method() == "GET" && look.body().empty());
    CHECK(look.answer_body("[") && look.answer_body("]") && look.answered(200) == TAKINGS_STEP_DONE);
    CHECK(look.reconciliation().found == TAKINGS_FOUND_NEVER && !look.idempotency_key());
    CHECK(client.prepare(order_id, takings::capture_request(3)).start() == TAKINGS_STEP_SEND); // given up
    takings::call unsent = client.prepare(order_id, takings::capture_request(3));
    CHECK(unsent.start() == TAKINGS_STEP_SEND && unsent.not_sent("refused") == TAKINGS_STEP_DONE);
    thrown<takings::not_sent>([&] { unsent.capture(); });
    // a header with a NUL in it is no HTTP, and so this refusal none
    takings::call strange = client.prepare(order_id, takings::capture_request(3));
    CHECK(strange.start() == TAKINGS_STEP_SEND);
    strange.answer_header("content-type", std::string("application/json\0;", 18));
    CHECK(strange.answered(403) == TAKINGS_STEP_DONE);
    thrown<takings::outcome_unknown>([&] { strange.capture(); });
    thrown<takings::invalid_input>([&] { client.prepare(cut, takings::capture_request(1)); });
    thrown<takings::invalid_input>([&] { client.prepare_reconcile(order_id, "", 1); });

    // any operation by its name, and its fields by theirs
    const takings::reply named_reply = client.call("capture", order_id, "{\"captured_amount\": 1}", "key-3");
    CHECK(named_reply.operation() == "capture" && named_reply.text("idempotency_key") == "key-3");
    CHECK(named_reply.integer("attempts") == 1 && !named_reply.text("attempts") && !named_reply.integer("none"));
    CHECK(named_reply.texts("warnings").empty() && named_reply.json().find(*named_reply.text("capture_id")) > 0);
    const takings::reply looked =
        client.call("reconcile", order_id, "{\"reference\": \"find-me\", \"captured_amount\": 1}");
    CHECK(looked.text("found") == "several" && looked.texts("capture_ids").size() == 2);
    takings::call by_name = client.prepare_call("capture", order_id, "{\"captured_amount\": 3}");
    CHECK(by_name.start() == TAKINGS_STEP_SEND);
    by_name.answer_header("capture-id", "4ba29b50-be7b-44f5-a492-113e6a865e23");
    CHECK(by_name.answered(201) == TAKINGS_STEP_DONE);
    CHECK(by_name.reply().text("capture_id") == "4ba29b50-be7b-44f5-a492-113e6a865e23");
    thrown<takings::invalid_input>([&] { client.call("captured", order_id, "{}"); });
    thrown<takings::invalid_input>([&] { client.call(std::string("capture\0", 8), order_id, "{}"); });

    // results and errors whole, as JSON
    CHECK(capture.json.find(capture.capture_id) != std::string::npos && found.json.find("several") != std::string::npos);
    CHECK(rejected.json().find("NO_SUCH_ORDER") != std::string::npos);
    CHECK(nul.json().find("\"retryable\":false") != std::string::npos);

    // The first use of a key is known.
    takings::capture_request old(1);
    old.first_used = std::chrono::system_clock::now() - std::chrono::hours(25);
    const auto late = thrown<takings::outcome_unknown>([&] { client.capture(order_id, old, "key-4"); });
    CHECK(late.attempts() == 0);
    CHECK(takings::idempotency_key(order_id, "parcel-1", "capture") == key);
    thrown<takings::invalid_input>([&] { takings::idempotency_key(order_id, "parcel-1", "reconcile"); });

    // amounts, exact or refused
    CHECK(takings::minor("60.00", "EUR").value() == 6000 && takings::minor("60", "JPY").value() == 60);
    CHECK(takings::capture_request(takings::minor("-1.5", "eur")).captured_amount.value() == -150);
    const auto comma = thrown<takings::invalid_input>([&] { takings::minor("19,99", "EUR"); });
    CHECK(comma.message().find("amount is \"19,99\"") == 0);
    thrown<takings::invalid_input>([&] { takings::minor("1", std::string("EUR\0", 4)); });

    // a moved-from client is refused, not followed
    takings::client moved = std::move(client);
    moved.capture(order_id, takings::capture_request(1));
    thrown<takings::invalid_input>([&] { client.capture(order_id, takings::capture_request(1)); });
    client = std::move(moved);
    client.capture(order_id, takings::capture_request(1));

    offline();
    std::cout << "done" << std::endl;
    return 0;
}
