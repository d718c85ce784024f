/*
 * takings for C++17: captures Klarna orders. Call it as often as you like, the money moves once,
 * and you always know whether it moved. A thin layer over takings.h, whose rules about threads
 * and fork hold here too; link with -ltakings.
 *
 *     takings::client client = takings::client::from_env();
 *     takings::capture_request request(6000); // 60.00 in the order's currency
 *     request.reference = "parcel-1";
 *     std::string key = takings::idempotency_key(order_id, "parcel-1");
 *     try {
 *         takings::capture capture = client.capture(order_id, request, key);
 *         ship(capture.capture_id);
 *     } catch (const takings::outcome_unknown &error) {
 *         ask_again_later(order_id, key); // with the same key; never book it as failed
 *     }
 *
 * The fields of requests are Klarna's, under Klarna's names; a field that is not set is not sent.
 * The library checks them all, and its errors name the path: order_lines[3].quantity.
 */
#ifndef TAKINGS_HPP
#define TAKINGS_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_format
#include <format>
#endif

#include "takings.h"

namespace takings {

namespace detail {

template <typename T, typename... Others>
constexpr bool is_one_of = (std::is_same_v<T, Others> || ...);

/* Integers whose values all fit into 64 bits with a sign, without bool and the characters. */
template <typename T>
constexpr bool is_number = std::is_integral_v<T> && sizeof(T) <= sizeof(std::int64_t) &&
                           (std::is_signed_v<T> || sizeof(T) < sizeof(std::int64_t)) &&
                           !is_one_of<std::remove_cv_t<T>, bool, char, wchar_t, char16_t, char32_t
#ifdef __cpp_char8_t
                                      ,
                                      char8_t
#endif
                                      >;

/* What a text is made from: not a null, which would be read as one. */
template <typename T>
constexpr bool is_text = (std::is_convertible_v<T, std::string> || std::is_convertible_v<T, std::string_view>) &&
                         !std::is_same_v<std::decay_t<T>, std::nullptr_t>;

} // namespace detail

/* A whole number, made from integers only. 60.00, 1.15 * 100, true and 'a' do not compile, and
 * neither does an unsigned number of 64 bits, which may not fit. */
class whole {
public:
    template <typename T, std::enable_if_t<detail::is_number<T>, int> = 0>
    constexpr whole(T value) noexcept : value_(value) {}
    template <typename T, std::enable_if_t<std::is_arithmetic_v<T> && !detail::is_number<T>, int> = 0>
    whole(T) = delete;

    constexpr std::int64_t value() const noexcept { return value_; }

private:
    std::int64_t value_;
};

/* Money in minor units: 60.00 is 6000. */
using amount = whole;

/* Yes or no, made from a bool only: "false" and 0.25, which C++ takes for true, do not compile. */
class flag {
public:
    template <typename T, std::enable_if_t<std::is_same_v<T, bool>, int> = 0>
    constexpr flag(T value) noexcept : value_(value) {}

    constexpr operator bool() const noexcept { return value_; }

private:
    bool value_;
};

/* A std::string made from texts only: 65 and 'A', which a std::string takes for the text "A", do not
 * compile. */
class text : public std::string {
public:
    text() = default;
    template <typename T, std::enable_if_t<detail::is_text<T>, int> = 0>
    text(T &&value) : basic_string(std::forward<T>(value)) {}
    template <typename T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
    text(T) = delete;
};

struct product_identifiers {
    std::optional<std::string> brand;
    std::optional<std::string> category_path; /* from general to special, joined by " > " */
    std::optional<std::string> global_trade_item_number; /* EAN, GTIN, ISBN or UPC */
    std::optional<std::string> manufacturer_part_number;
    std::optional<std::string> color;
    std::optional<std::string> size;
};

struct subscription {
    subscription(text name, text interval, whole interval_count)
        : name(std::move(name)), interval(std::move(interval)), interval_count(interval_count) {}

    text name;
    text interval; /* DAY, WEEK, MONTH or YEAR */
    whole interval_count;
};

/* One line of the order. total_amount is quantity * unit_price - total_discount_amount. */
struct order_line {
    order_line(text name, whole quantity, amount unit_price, amount total_amount)
        : name(std::move(name)), quantity(quantity), unit_price(unit_price), total_amount(total_amount) {}

    /* physical, discount, shipping_fee, sales_tax, store_credit, gift_card, digital, surcharge
     * or return_fee */
    std::optional<std::string> type;
    std::optional<std::string> reference; /* article number */
    text name;
    whole quantity; /* whole units: sell 1.5 kg as 1500 g */
    std::optional<std::string> quantity_unit;
    amount unit_price; /* with tax, before discount; negative on discounts */
    std::optional<whole> tax_rate; /* hundredths of a percent: 25 % is 2500 */
    amount total_amount; /* with tax and discount; negative on discounts */
    std::optional<amount> total_discount_amount;
    std::optional<amount> total_tax_amount;
    std::optional<std::string> merchant_data;
    std::optional<std::string> product_url;
    std::optional<std::string> image_url;
    std::optional<takings::product_identifiers> product_identifiers;
    std::optional<takings::subscription> subscription;
};

struct shipping_info {
    std::optional<std::string> shipping_company;
    /* PickUpStore, Home, BoxReg, BoxUnreg, PickUpPoint, Own, Postal, DHLPackstation, Digital,
     * Undefined, PickUpWarehouse, ClickCollect or PalletDelivery */
    std::optional<std::string> shipping_method;
    std::optional<std::string> tracking_number;
    std::optional<std::string> tracking_uri;
    std::optional<std::string> return_shipping_company;
    std::optional<std::string> return_tracking_number;
    std::optional<std::string> return_tracking_uri;
};

/* What is captured. A full and a partial capture differ in captured_amount only. */
struct capture_request {
    explicit capture_request(amount captured_amount) : captured_amount(captured_amount) {}

    amount captured_amount;
    std::optional<std::string> reference; /* your name for this capture, in settlement files too */
    std::optional<std::string> description; /* shown to the customer */
    std::optional<std::vector<order_line>> order_lines;
    std::optional<std::vector<takings::shipping_info>> shipping_info;
    std::optional<whole> shipping_delay; /* days */
};

/* The settings of a client. What is not set has the library's default. */
struct config {
    std::optional<std::string> region; /* eu, na, oc or kustom */
    std::optional<std::string> environment; /* live or playground */
    std::optional<std::string> base_url; /* instead of the two above */
    std::optional<std::string> username;
    std::optional<std::string> password;
    std::optional<std::string> api_key; /* instead of a password */
    std::optional<std::string> auth; /* basic or raw */
    std::optional<std::chrono::milliseconds> connect_timeout;
    std::optional<std::chrono::milliseconds> attempt_timeout;
    std::optional<std::chrono::milliseconds> timeout; /* the whole call */
    std::optional<whole> max_attempts;
    std::optional<std::chrono::milliseconds> backoff;
    std::optional<std::chrono::milliseconds> max_backoff;
    std::optional<std::string> proxy;
    std::optional<std::string> ca_file;
    std::optional<std::string> user_agent_suffix;
    std::optional<std::string> check_lines; /* off, warn or refuse */
    std::optional<flag> accept_unknown_values;
    std::optional<flag> reconcile; /* settle an unclear capture by its reference, if that is unique */
};

/* One request of a call, for whoever has to see afterwards what happened. It holds no credential. */
struct attempt {
    std::chrono::system_clock::time_point started;
    std::string sent; /* method and URL */
    std::chrono::milliseconds took;
    std::string came_back; /* for people: "201", "503 INTERNAL_ERROR", "no answer within 10.0s" */
    std::optional<int> http_status;
    std::optional<std::string> error_code;
    std::optional<std::string> correlation_id;
    std::optional<std::chrono::milliseconds> wait; /* the pause after it, where another followed */
};

/* Klarna captured it: ship. */
struct capture {
    std::string capture_id;
    std::string order_id;
    std::string idempotency_key; /* given or made */
    std::optional<std::string> correlation_id;
    std::uint32_t attempts;
    std::vector<attempt> attempt_log; /* with the looks that settled it, where reconcile is set */
    std::vector<std::string> warnings; /* order lines that do not add up; another capture with this key */
};

/* What a look into an order's captures found. */
struct reconciliation {
    takings_found_t found; /* once, never (when Klarna was asked) or several times */
    std::vector<std::string> capture_ids;
    std::string order_id;
    std::optional<std::string> correlation_id;
    std::uint32_t attempts;
    std::vector<attempt> attempt_log;

    /* The capture, if it was found once. */
    std::optional<std::string> capture_id() const {
        return capture_ids.size() == 1 ? std::optional<std::string>(capture_ids.front()) : std::nullopt;
    }
};

/* The facts of an error. */
struct error_fields {
    takings_error_kind_t kind;
    std::string kind_name;
    std::string message;
    std::optional<int> http_status;
    std::optional<std::string> error_code;
    std::vector<std::string> error_messages;
    std::optional<std::string> correlation_id;
    std::optional<std::string> order_id;
    std::optional<std::string> idempotency_key;
    std::uint32_t attempts;
    std::vector<attempt> attempt_log;
    bool retryable;
};

/* Why a call did not end in a capture. The class says what it means for the money; what() is one
 * line for a log. A copy shares the fields, which outlive the client. */
class error : public std::runtime_error {
public:
    explicit error(error_fields fields)
        : std::runtime_error(fields.message), fields_(std::make_shared<const error_fields>(std::move(fields))) {}

    takings_error_kind_t kind() const noexcept { return fields_->kind; }
    const std::string &kind_name() const noexcept { return fields_->kind_name; }
    const std::string &message() const noexcept { return fields_->message; }
    const std::optional<int> &http_status() const noexcept { return fields_->http_status; }
    const std::optional<std::string> &error_code() const noexcept { return fields_->error_code; }
    const std::vector<std::string> &error_messages() const noexcept { return fields_->error_messages; }
    const std::optional<std::string> &correlation_id() const noexcept { return fields_->correlation_id; }
    const std::optional<std::string> &order_id() const noexcept { return fields_->order_id; }
    const std::optional<std::string> &idempotency_key() const noexcept { return fields_->idempotency_key; }
    std::uint32_t attempts() const noexcept { return fields_->attempts; }
    const std::vector<attempt> &attempt_log() const noexcept { return fields_->attempt_log; }
    bool retryable() const noexcept { return fields_->retryable; }

private:
    std::shared_ptr<const error_fields> fields_;
};

/* The input was refused and nothing was sent. Mend the code or the data. */
class invalid_input : public error {
    using error::error;
};

/* Nothing can have reached Klarna. Call again at any time, with the same key. */
class not_sent : public error {
    using error::error;
};

/* Klarna said no; nothing was captured. The corrected capture takes a new idempotency key. */
class rejected : public error {
    using error::error;
};

/* It may have been captured. Call again with the same idempotency key within 24 hours; never book
 * it as failed. */
class outcome_unknown : public error {
    using error::error;
};

/* A bug in takings: report it. If attempts() is above 0, treat it as outcome_unknown. */
class internal_error : public error {
    using error::error;
};

namespace detail {

struct closer {
    void operator()(takings_client_t *client) const noexcept { takings_client_free(client); }
    void operator()(takings_capture_t *capture) const noexcept { takings_capture_free(capture); }
    void operator()(takings_reconciliation_t *found) const noexcept { takings_reconciliation_free(found); }
    void operator()(takings_error_t *error) const noexcept { takings_error_free(error); }
    void operator()(takings_operation_t *operation) const noexcept { takings_operation_free(operation); }
    void operator()(char *string) const noexcept { takings_string_free(string); }
};

template <typename T>
using handle = std::unique_ptr<T, closer>;

inline std::string text(const char *text) { return text ? text : ""; }

inline std::optional<std::string> optional_text(const char *text) {
    return text ? std::optional<std::string>(text) : std::nullopt;
}

inline attempt read(const takings_attempt_t *from) {
    takings::attempt attempt{};
    attempt.started = std::chrono::system_clock::time_point(std::chrono::milliseconds(takings_attempt_started_ms(from)));
    attempt.sent = text(takings_attempt_sent(from));
    attempt.took = std::chrono::milliseconds(takings_attempt_took_ms(from));
    attempt.came_back = text(takings_attempt_came_back(from));
    if (takings_attempt_http_status(from) != 0) {
        attempt.http_status = takings_attempt_http_status(from);
    }
    attempt.error_code = optional_text(takings_attempt_error_code(from));
    attempt.correlation_id = optional_text(takings_attempt_correlation_id(from));
    if (takings_attempt_wait_ms(from) >= 0) {
        attempt.wait = std::chrono::milliseconds(takings_attempt_wait_ms(from));
    }
    return attempt;
}

[[noreturn]] inline void raise(error_fields fields) {
    switch (fields.kind) {
    case TAKINGS_ERROR_INVALID_INPUT:
        throw invalid_input(std::move(fields));
    case TAKINGS_ERROR_NOT_SENT:
        throw not_sent(std::move(fields));
    case TAKINGS_ERROR_REJECTED:
        throw rejected(std::move(fields));
    case TAKINGS_ERROR_INTERNAL:
        throw internal_error(std::move(fields));
    default: /* a kind that a later library knows is to be treated as this one */
        throw outcome_unknown(std::move(fields));
    }
}

[[noreturn]] inline void raise(takings_error_t *failure) {
    const handle<takings_error_t> error(failure);
    error_fields fields{};
    fields.kind = takings_error_kind(failure);
    fields.kind_name = text(takings_error_kind_name(failure));
    fields.message = text(takings_error_message(failure));
    if (takings_error_http_status(failure) != 0) {
        fields.http_status = takings_error_http_status(failure);
    }
    fields.error_code = optional_text(takings_error_error_code(failure));
    for (std::size_t i = 0; i < takings_error_error_message_count(failure); ++i) {
        fields.error_messages.emplace_back(text(takings_error_error_message(failure, i)));
    }
    fields.correlation_id = optional_text(takings_error_correlation_id(failure));
    fields.order_id = optional_text(takings_error_order_id(failure));
    fields.idempotency_key = optional_text(takings_error_idempotency_key(failure));
    fields.attempts = takings_error_attempts(failure);
    for (std::size_t i = 0; i < takings_error_attempt_log_count(failure); ++i) {
        fields.attempt_log.push_back(read(takings_error_attempt_log(failure, i)));
    }
    fields.retryable = takings_error_retryable(failure);
    raise(std::move(fields));
}

/* What a call gave, or its error. */
inline capture read(const handle<takings_capture_t> &from, takings_error_t *error) {
    if (!from) {
        raise(error);
    }
    takings::capture capture{};
    capture.capture_id = text(takings_capture_capture_id(from.get()));
    capture.order_id = text(takings_capture_order_id(from.get()));
    capture.idempotency_key = text(takings_capture_idempotency_key(from.get()));
    capture.correlation_id = optional_text(takings_capture_correlation_id(from.get()));
    capture.attempts = takings_capture_attempts(from.get());
    for (std::size_t i = 0; i < takings_capture_attempt_log_count(from.get()); ++i) {
        capture.attempt_log.push_back(read(takings_capture_attempt_log(from.get(), i)));
    }
    for (std::size_t i = 0; i < takings_capture_warning_count(from.get()); ++i) {
        capture.warnings.emplace_back(text(takings_capture_warning(from.get(), i)));
    }
    return capture;
}

inline reconciliation read(const handle<takings_reconciliation_t> &from, takings_error_t *error) {
    if (!from) {
        raise(error);
    }
    takings::reconciliation found{};
    found.found = takings_reconciliation_found(from.get());
    for (std::size_t i = 0; i < takings_reconciliation_capture_id_count(from.get()); ++i) {
        found.capture_ids.emplace_back(text(takings_reconciliation_capture_id_at(from.get(), i)));
    }
    found.order_id = text(takings_reconciliation_order_id(from.get()));
    found.correlation_id = optional_text(takings_reconciliation_correlation_id(from.get()));
    found.attempts = takings_reconciliation_attempts(from.get());
    for (std::size_t i = 0; i < takings_reconciliation_attempt_log_count(from.get()); ++i) {
        found.attempt_log.push_back(read(takings_reconciliation_attempt_log(from.get(), i)));
    }
    return found;
}

/* A string for takings.h, where NUL would end it: half an order id is another order's. */
inline const char *c_string(const char *argument, const std::string &text) {
    if (text.find('\0') != std::string::npos) {
        error_fields fields{};
        fields.kind = TAKINGS_ERROR_INVALID_INPUT;
        fields.kind_name = "invalid_input";
        fields.message = std::string(argument) + " is a text with a NUL character; it must be one without";
        raise(std::move(fields));
    }
    return text.c_str();
}

/* Writes the JSON text that takings.h takes. Strings go out as they are, escaped where JSON asks
 * for it, so that the library judges them. */
class json {
public:
    template <typename T>
    static std::string of(const T &value) {
        json out;
        out.write(value);
        return std::move(out.text_);
    }

private:
    void write(const std::string &value) {
        static const char digits[] = "0123456789abcdef";
        text_ += '"';
        for (const char c : value) {
            if (c == '"' || c == '\\') {
                text_ += '\\';
                text_ += c;
            } else if (static_cast<unsigned char>(c) < 0x20) {
                text_ += "\\u00";
                text_ += digits[c >> 4];
                text_ += digits[c & 15];
            } else {
                text_ += c;
            }
        }
        text_ += '"';
    }

    void write(bool value) { text_ += value ? "true" : "false"; }
    void write(whole value) { text_ += std::to_string(value.value()); }
    void write(std::chrono::milliseconds value) { text_ += std::to_string(value.count()); }

    template <typename T>
    void write(const std::vector<T> &items) {
        text_ += '[';
        for (const T &item : items) {
            comma('[');
            write(item);
        }
        text_ += ']';
    }

    void write(const config &value) {
        text_ += '{';
        member("region", value.region);
        member("environment", value.environment);
        member("base_url", value.base_url);
        member("username", value.username);
        member("password", value.password);
        member("api_key", value.api_key);
        member("auth", value.auth);
        member("connect_timeout_ms", value.connect_timeout);
        member("attempt_timeout_ms", value.attempt_timeout);
        member("timeout_ms", value.timeout);
        member("max_attempts", value.max_attempts);
        member("backoff_ms", value.backoff);
        member("max_backoff_ms", value.max_backoff);
        member("proxy", value.proxy);
        member("ca_file", value.ca_file);
        member("user_agent_suffix", value.user_agent_suffix);
        member("check_lines", value.check_lines);
        member("accept_unknown_values", value.accept_unknown_values);
        member("reconcile", value.reconcile);
        text_ += '}';
    }

    void write(const capture_request &value) {
        text_ += '{';
        member("captured_amount", value.captured_amount);
        member("reference", value.reference);
        member("description", value.description);
        member("order_lines", value.order_lines);
        member("shipping_info", value.shipping_info);
        member("shipping_delay", value.shipping_delay);
        text_ += '}';
    }

    void write(const order_line &value) {
        text_ += '{';
        member("type", value.type);
        member("reference", value.reference);
        member("name", value.name);
        member("quantity", value.quantity);
        member("quantity_unit", value.quantity_unit);
        member("unit_price", value.unit_price);
        member("tax_rate", value.tax_rate);
        member("total_amount", value.total_amount);
        member("total_discount_amount", value.total_discount_amount);
        member("total_tax_amount", value.total_tax_amount);
        member("merchant_data", value.merchant_data);
        member("product_url", value.product_url);
        member("image_url", value.image_url);
        member("product_identifiers", value.product_identifiers);
        member("subscription", value.subscription);
        text_ += '}';
    }

    void write(const product_identifiers &value) {
        text_ += '{';
        member("brand", value.brand);
        member("category_path", value.category_path);
        member("global_trade_item_number", value.global_trade_item_number);
        member("manufacturer_part_number", value.manufacturer_part_number);
        member("color", value.color);
        member("size", value.size);
        text_ += '}';
    }

    void write(const subscription &value) {
        text_ += '{';
        member("name", value.name);
        member("interval", value.interval);
        member("interval_count", value.interval_count);
        text_ += '}';
    }

    void write(const shipping_info &value) {
        text_ += '{';
        member("shipping_company", value.shipping_company);
        member("shipping_method", value.shipping_method);
        member("tracking_number", value.tracking_number);
        member("tracking_uri", value.tracking_uri);
        member("return_shipping_company", value.return_shipping_company);
        member("return_tracking_number", value.return_tracking_number);
        member("return_tracking_uri", value.return_tracking_uri);
        text_ += '}';
    }

    template <typename T>
    void member(const char *name, const T &value) {
        comma('{');
        text_ += '"';
        text_ += name;
        text_ += "\":";
        write(value);
    }

    template <typename T>
    void member(const char *name, const std::optional<T> &value) {
        if (value) {
            member(name, *value);
        }
    }

    void comma(char opening) {
        if (text_.back() != opening) {
            text_ += ',';
        }
    }

    std::string text_;
};

} // namespace detail

/* A call that your program sends by itself: takings decides what to send, when to wait and what an
 * answer means, your HTTP client sends. It stands in takings.h, at takings_operation_t, what that
 * client owes it.
 *
 *     takings::operation operation = client.prepare(order_id, request, key);
 *     takings_step_t step = operation.start();
 *     while (step == TAKINGS_STEP_SEND || step == TAKINGS_STEP_WAIT) {
 *         step = step == TAKINGS_STEP_SEND ? send_over_http(operation) : pause(operation);
 *     }
 *     takings::capture capture = operation.capture();
 *
 * One thread at a time may use it. It can be moved; a moved-from operation has nothing to do
 * (TAKINGS_STEP_NONE). It does not need its client. */
class operation {
public:
    std::string order_id() const { return detail::text(takings_operation_order_id(handle_.get())); }

    /* The key it is sent with, given or made; none for a look. */
    std::optional<std::string> idempotency_key() const {
        return detail::optional_text(takings_operation_idempotency_key(handle_.get()));
    }

    /* Begins it; the time-out of the whole call counts from here. */
    takings_step_t start() noexcept { return takings_operation_start(handle_.get()); }

    /* The time for sending (TAKINGS_STEP_SEND), or the pause (TAKINGS_STEP_WAIT). */
    std::chrono::milliseconds time() const noexcept {
        return std::chrono::milliseconds(takings_operation_time_ms(handle_.get()));
    }

    /* Of the time for sending, at most this for making a connection. */
    std::chrono::milliseconds connect_timeout() const noexcept {
        return std::chrono::milliseconds(takings_operation_connect_timeout_ms(handle_.get()));
    }

    /* The request, while it is to be sent. The header authorization is the credential. */
    std::string method() const { return detail::text(takings_operation_method(handle_.get())); }
    std::string url() const { return detail::text(takings_operation_url(handle_.get())); }
    std::vector<std::pair<std::string, std::string>> headers() const {
        std::vector<std::pair<std::string, std::string>> headers;
        for (std::size_t i = 0; i < takings_operation_header_count(handle_.get()); ++i) {
            headers.emplace_back(detail::text(takings_operation_header_name(handle_.get(), i)),
                                 detail::text(takings_operation_header_value(handle_.get(), i)));
        }
        return headers;
    }
    std::string body() const {
        const char *body = takings_operation_body(handle_.get());
        return body ? std::string(body, takings_operation_body_length(handle_.get())) : std::string();
    }

    /* How many bytes of the answer's body are worth reading. */
    std::size_t most_answer() const noexcept { return takings_operation_most_answer(handle_.get()); }

    /* A header and a part of the body of the answer, before answered. A header that came twice is
     * given twice; those of a 1xx are left out. false: no more of the body is worth reading. */
    void answer_header(std::string name, std::string value) {
        /* C would take what stands before a NUL for the whole; no header may have one */
        std::replace(name.begin(), name.end(), '\0', '\x01');
        std::replace(value.begin(), value.end(), '\0', '\x01');
        takings_operation_answer_header(handle_.get(), name.c_str(), value.c_str());
    }
    bool answer_body(std::string_view bytes) {
        return takings_operation_answer_body(handle_.get(), bytes.data(), bytes.size());
    }

    /* An answer whose head was complete, after its headers and its body. */
    takings_step_t answered(std::uint16_t status) noexcept {
        return takings_operation_answered(handle_.get(), status);
    }

    /* No connection was made, so nothing of the request can have left. When in doubt: maybe_sent. */
    takings_step_t not_sent(const std::string &why) {
        return takings_operation_not_sent(handle_.get(), why.c_str());
    }

    /* It may have left, and no answer came. */
    takings_step_t maybe_sent(const std::string &why) {
        return takings_operation_maybe_sent(handle_.get(), why.c_str());
    }

    /* The pause is over. */
    takings_step_t waited() noexcept { return takings_operation_waited(handle_.get()); }

    /* What a capture ended in. Throws one of the classes of error; before TAKINGS_STEP_DONE it is
     * outcome_unknown, for a caller that stops waiting. */
    takings::capture capture() const {
        takings_error_t *error = nullptr;
        const detail::handle<takings_capture_t> handle(takings_operation_capture(handle_.get(), &error));
        return detail::read(handle, error);
    }

    /* What a look ended in, in the same way. */
    takings::reconciliation reconciliation() const {
        takings_error_t *error = nullptr;
        const detail::handle<takings_reconciliation_t> handle(takings_operation_reconciliation(handle_.get(), &error));
        return detail::read(handle, error);
    }

private:
    friend class client;

    explicit operation(detail::handle<takings_operation_t> handle) noexcept : handle_(std::move(handle)) {}

    detail::handle<takings_operation_t> handle_;
};

/* Captures the orders of one merchant account. Make one and keep it: it reuses its connections.
 * Any number of threads may use it at the same time, and so may a forked process. It can be moved;
 * a moved-from client refuses every call with invalid_input. */
class client {
public:
    /* Throws invalid_input, naming the setting. */
    explicit client(const config &settings) : client(detail::json::of(settings)) {}

    /* The same with the settings as JSON text, as takings_client_new takes them. */
    explicit client(const std::string &config_json) {
        takings_error_t *error = nullptr;
        handle_.reset(takings_client_new(detail::c_string("config_json", config_json), &error));
        if (!handle_) {
            detail::raise(error);
        }
    }

    /* From the environment variables that takings_client_from_env names. */
    static client from_env() {
        takings_error_t *error = nullptr;
        detail::handle<takings_client_t> handle(takings_client_from_env(&error));
        if (!handle) {
            detail::raise(error);
        }
        return client(std::move(handle));
    }

    /* Captures the order, in full or in part, and waits for the outcome, at most for the timeout.
     * With a key of your own (idempotency_key makes one) it can be called again after a crash:
     * the money moves once. Without one a fresh key is made; it comes back in the capture and in
     * the error. Throws one of the classes of error. */
    takings::capture capture(const std::string &order_id, const capture_request &request,
                             const std::optional<std::string> &idempotency_key = std::nullopt) const {
        return capture(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::capture capture(const std::string &order_id, const std::string &request_json,
                             const std::optional<std::string> &idempotency_key = std::nullopt) const {
        takings_error_t *error = nullptr;
        const detail::handle<takings_capture_t> handle(takings_client_capture(
            handle_.get(), detail::c_string("order_id", order_id), detail::c_string("request_json", request_json),
            idempotency_key ? detail::c_string("idempotency_key", *idempotency_key) : nullptr, &error));
        return detail::read(handle, error);
    }

    /* The first half of capture: everything that can be refused is refused here, and the key is known
     * before anything is sent. The operation is the second half, for your program to send. Throws
     * invalid_input. */
    takings::operation prepare(const std::string &order_id, const capture_request &request,
                               const std::optional<std::string> &idempotency_key = std::nullopt) const {
        return prepare(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::operation prepare(const std::string &order_id, const std::string &request_json,
                               const std::optional<std::string> &idempotency_key = std::nullopt) const {
        takings_error_t *error = nullptr;
        detail::handle<takings_operation_t> handle(takings_client_prepare(
            handle_.get(), detail::c_string("order_id", order_id), detail::c_string("request_json", request_json),
            idempotency_key ? detail::c_string("idempotency_key", *idempotency_key) : nullptr, &error));
        if (!handle) {
            detail::raise(error);
        }
        return takings::operation(std::move(handle));
    }

    /* Looks into the order's captures for the one with this reference and amount; only sound when
     * each capture of an order has a reference of its own. Throws one of the classes of error when
     * they could not be read: what became of the capture stays unknown. */
    takings::reconciliation reconcile(const std::string &order_id, const std::string &reference,
                                      amount captured_amount) const {
        takings_error_t *error = nullptr;
        const detail::handle<takings_reconciliation_t> handle(takings_client_reconcile(
            handle_.get(), detail::c_string("order_id", order_id), detail::c_string("reference", reference),
            captured_amount.value(), &error));
        return detail::read(handle, error);
    }

    /* The first half of reconcile, as prepare is that of capture. */
    takings::operation prepare_reconcile(const std::string &order_id, const std::string &reference,
                                         amount captured_amount) const {
        takings_error_t *error = nullptr;
        detail::handle<takings_operation_t> handle(takings_client_prepare_reconcile(
            handle_.get(), detail::c_string("order_id", order_id), detail::c_string("reference", reference),
            captured_amount.value(), &error));
        if (!handle) {
            detail::raise(error);
        }
        return takings::operation(std::move(handle));
    }

    /* Where requests go, without credentials. */
    std::string base_url() const { return detail::text(takings_client_base_url(handle_.get())); }

private:
    explicit client(detail::handle<takings_client_t> handle) noexcept : handle_(std::move(handle)) {}

    detail::handle<takings_client_t> handle_;
};

/* Derives the idempotency key of the capture called name of an order: the same two texts give the
 * same key after a crash, on any host. Two parcels need two names. Throws invalid_input. */
inline std::string idempotency_key(const std::string &order_id, const std::string &name) {
    takings_error_t *error = nullptr;
    const detail::handle<char> key(takings_idempotency_key(detail::c_string("order_id", order_id),
                                                           detail::c_string("name", name), &error));
    if (!key) {
        detail::raise(error);
    }
    return key.get();
}

/* A fresh random key, for a program that stores it before the call. */
inline std::string new_idempotency_key() {
    takings_error_t *error = nullptr;
    const detail::handle<char> key(takings_new_idempotency_key(&error));
    if (!key) {
        detail::raise(error);
    }
    return key.get();
}

/* An amount in minor units, exactly or not at all: minor("60.00", "EUR") is 6000. The text is a decimal
 * number with a point, the currency a code of ISO 4217, whose number of decimals counts. Throws
 * invalid_input. */
inline amount minor(const std::string &text, const std::string &currency) {
    takings_error_t *error = nullptr;
    std::int64_t minor = 0;
    if (!takings_minor(detail::c_string("amount", text), detail::c_string("currency", currency), &minor, &error)) {
        detail::raise(error);
    }
    return minor;
}

/* The version of the library that runs; TAKINGS_VERSION is that of the headers. */
inline std::string version() { return takings_version(); }

} // namespace takings

#ifdef __cpp_lib_format
/* std::format takes no class for the std::string that it is, or takes it for a list of characters. */
template <> struct std::formatter<takings::text> : std::formatter<std::string> {};
#endif

#endif /* TAKINGS_HPP */
