/*
 * takings for C++17: captures Klarna orders. Call it as often as you like, the money moves once,
 * and what you are told about it is true. A thin layer over takings.h, whose rules about threads
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

/* The types that a text is made from. A null is none of them: std::string would read through it. */
template <typename T>
constexpr bool is_text = (std::is_convertible_v<T, std::string> || std::is_convertible_v<T, std::string_view>) &&
                         !std::is_same_v<std::decay_t<T>, std::nullptr_t>;

[[noreturn]] inline void refuse_null();

template <typename T>
T &&not_null(T &&value) {
    if constexpr (std::is_pointer_v<std::remove_reference_t<T>>) {
        if (!value) {
            refuse_null();
        }
    }
    return std::forward<T>(value);
}

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
 * compile, and a NULL is refused as invalid_input. */
class text : public std::string {
public:
    text() = default;
    template <typename T, std::enable_if_t<detail::is_text<T>, int> = 0>
    text(T &&value) : basic_string(detail::not_null(std::forward<T>(value))) {}
    template <typename T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
    text(T) = delete;
};

/* generated: types (scripts/generate.py, from the core's declarations) */
/* Names of a product outside the shop. Every field may be absent. */
struct product_identifiers {
    /* At most 70 characters. */
    std::optional<text> brand;
    /* The categories from general to special, joined by " > ", at most 750 characters. */
    std::optional<text> category_path;
    /* EAN, GTIN, ISBN or UPC, at most 50 characters. */
    std::optional<text> global_trade_item_number;
    /* At most 70 characters. */
    std::optional<text> manufacturer_part_number;
    /* At most 64 characters. */
    std::optional<text> color;
    /* At most 64 characters. */
    std::optional<text> size;
};

/* The subscription an order line belongs to. */
struct subscription {
    subscription(text name, text interval, whole interval_count)
        : name(std::move(name)), interval(std::move(interval)), interval_count(interval_count) {}

    /* At most 255 characters. */
    text name;
    /* The unit of interval_count. One of DAY, WEEK, MONTH or YEAR. */
    text interval;
    /* How many intervals lie between two payments, 1 or more. */
    whole interval_count;
};

/* A line of the order, as the customer sees it. Where the limits come from: capture_request.
 * total_amount is "quantity * unit_price - total_discount_amount"; what is done about a line
 * that does not add up is check_lines. */
struct order_line {
    order_line(text name, whole quantity, amount unit_price, amount total_amount)
        : name(std::move(name)), quantity(quantity), unit_price(unit_price), total_amount(total_amount) {}

    /* The kind of the line. One of physical, discount, shipping_fee, sales_tax, store_credit,
     * gift_card, digital, surcharge or return_fee. */
    std::optional<text> type;
    /* Article number, at most 255 characters. Must be the same in captures and refunds for
     * Klarna to assign a refund to the right capture. */
    std::optional<text> reference;
    /* The name of what the line is for, at most 255 characters. */
    text name;
    /* How many, 0 or more. Whole units only: sell 1.5 kg as 1500 g, or as quantity 1. */
    whole quantity;
    /* The unit of quantity, such as kg or pcs, at most 10 characters. */
    std::optional<text> quantity_unit;
    /* Price of one unit in minor units, tax included, before discount: at most 200,000,000;
     * negative on discounts. */
    amount unit_price;
    /* Tax rate in hundredths of a percent: 25 % is 2500. */
    std::optional<whole> tax_rate;
    /* The line's total in minor units, tax and discount included: at most 200,000,000; negative
     * on discounts. */
    amount total_amount;
    /* Discount of the whole line in minor units, tax included: 0 to 200,000,000. */
    std::optional<amount> total_discount_amount;
    /* Tax contained in total_amount, in minor units: at most 200,000,000; negative on discounts. */
    std::optional<amount> total_tax_amount;
    /* Your own data, at most 1024 characters. */
    std::optional<text> merchant_data;
    /* The product's page, at most 1024 characters. */
    std::optional<text> product_url;
    /* A picture of the product, at most 1024 characters. */
    std::optional<text> image_url;
    /* Names of the product outside the shop. */
    std::optional<takings::product_identifiers> product_identifiers;
    /* The subscription the line belongs to. */
    std::optional<takings::subscription> subscription;
};

/* The new amount and lines of an order that is authorized. */
struct authorization_request {
    authorization_request(amount order_amount, std::vector<takings::order_line> order_lines)
        : order_amount(order_amount), order_lines(std::move(order_lines)) {}

    /* The order's new amount in minor units: 0 to 200,000,000, and not less than was captured.
     * For more than before Klarna checks the risk anew, and takes it for some payment methods
     * only. */
    amount order_amount;
    /* A text about the change, at most 255 characters. */
    std::optional<text> description;
    /* The order's new lines, at most 1000. They replace the old ones. Klarna deletes the old
     * ones where the lines are left out, so takings wants them; [] deletes them on purpose. */
    std::vector<takings::order_line> order_lines;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
};

/* How one consignment travels. Every field may be absent; Klarna follows the parcel only when
 * company and tracking number are there. Where the limits come from: capture_request. */
struct shipping_info {
    /* The carrier, best as its name on Klarna's list of carriers, at most 100 characters. */
    std::optional<text> shipping_company;
    /* How it is delivered. One of PickUpStore, Home, BoxReg, BoxUnreg, PickUpPoint, Own, Postal,
     * DHLPackstation, Digital, Undefined, PickUpWarehouse, ClickCollect or PalletDelivery. */
    std::optional<text> shipping_method;
    /* At most 100 characters. Klarna checks it later; a wrong one does not fail the call. */
    std::optional<text> tracking_number;
    /* Where the customer follows the parcel, at most 1024 characters. */
    std::optional<text> tracking_uri;
    /* The carrier of a return, at most 100 characters. */
    std::optional<text> return_shipping_company;
    /* The tracking number of a return, at most 100 characters. */
    std::optional<text> return_tracking_number;
    /* Where the customer follows the return, at most 1024 characters. */
    std::optional<text> return_tracking_uri;
};

/* The body of Klarna's capture call: how much is captured, and for what. A full and a partial
 * capture are the same call; they differ in captured_amount. The order's currency applies.
 * Names, types and limits, here and in what it holds, are those of the OpenAPI description of
 * the Order Management API that Klarna published in 2024 ("POST
 * /ordermanagement/v1/orders/{order_id}/captures"). Stricter than that is one thing: 0 is within
 * Klarna's schema, but the captures it returns start at 1, so capturing nothing is taken for a
 * mistake. */
struct capture_request {
    explicit capture_request(amount captured_amount)
        : captured_amount(captured_amount) {}

    /* How much is captured, in minor units (60.00 is 6000), tax included: 1 to 200,000,000.
     * Klarna refuses more than the order's remaining authorized amount. */
    amount captured_amount;
    /* Your own name for this capture, at most 255 characters. It ends up in Klarna's settlement
     * files, and a unique one lets a capture be found again. */
    std::optional<text> reference;
    /* Shown to the customer, at most 255 characters. */
    std::optional<text> description;
    /* The lines that the captured amount is for, at most 1000. */
    std::optional<std::vector<takings::order_line>> order_lines;
    /* How the goods travel, at most 500 entries. Klarna expects it for physical goods. */
    std::optional<std::vector<takings::shipping_info>> shipping_info;
    /* Days until the goods are shipped, 0 or more. Above 0 only for accounts with that feature. */
    std::optional<whole> shipping_delay;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
    /* For a capture or a refund with a reference: whether the order is searched for it first.
     * Found once, with this amount, it is the result, with a warning; otherwise it is made with
     * its key. That costs one request more, and holds after Klarna's 24 hours too. */
    std::optional<flag> look_first;
};

/* How the goods of a capture travel. */
struct capture_shipping_request {
    capture_shipping_request(text capture_id, std::vector<takings::shipping_info> shipping_info)
        : capture_id(std::move(capture_id)), shipping_info(std::move(shipping_info)) {}

    /* Klarna's id of the capture. */
    text capture_id;
    /* The entries to append, 1 to 500. Klarna deletes none and replaces none. */
    std::vector<takings::shipping_info> shipping_info;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
};

/* An address. Every field may be absent. */
struct address {
    /* First name, at most 100 characters. */
    std::optional<text> given_name;
    /* Last name, at most 100 characters. */
    std::optional<text> family_name;
    /* The company, at most 255 characters. */
    std::optional<text> organization_name;
    /* The person in the company, at most 255 characters. */
    std::optional<text> attention;
    /* At most 20 characters. */
    std::optional<text> title;
    /* Street and house, at most 100 characters. */
    std::optional<text> street_address;
    /* The second line of the street, at most 100 characters. */
    std::optional<text> street_address2;
    /* At most 10 characters. */
    std::optional<text> postal_code;
    /* At most 200 characters. */
    std::optional<text> city;
    /* State or region, at most 200 characters. Klarna requires it in the USA. */
    std::optional<text> region;
    /* The country's two letters, as in ISO 3166. */
    std::optional<text> country;
    /* At most 100 characters. */
    std::optional<text> email;
    /* At most 100 characters. */
    std::optional<text> phone;
};

/* A new address of the customer. */
struct customer_details_request {
    explicit customer_details_request(takings::address shipping_address)
        : shipping_address(std::move(shipping_address)) {}

    /* Where the goods go. An empty text deletes a field. */
    takings::address shipping_address;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
};

/* The shop's own references of an order. Klarna keeps the one that is left out; an empty text
 * deletes it. */
struct merchant_references_request {
    /* The order number that the customer sees, at most 255 characters. */
    std::optional<text> merchant_reference1;
    /* A second reference, at most 255 characters. */
    std::optional<text> merchant_reference2;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
};

/* The body of Klarna's refund call: how much of what was captured goes back, and for what. */
struct refund_request {
    explicit refund_request(amount refunded_amount)
        : refunded_amount(refunded_amount) {}

    /* How much is refunded, in minor units (60.00 is 6000), tax included: 1 to 200,000,000.
     * Klarna refuses more than was captured and not refunded yet. */
    amount refunded_amount;
    /* Your own name for this refund, at most 255 characters. It ends up in Klarna's settlement
     * files. By a unique one a refund can be found again. */
    std::optional<text> reference;
    /* Shown to the customer, at most 255 characters. */
    std::optional<text> description;
    /* The lines that are refunded, at most 1000. Klarna assigns the refund to the captures that
     * have lines with the same references. With a line of the type return_fee the lines must sum
     * to refunded_amount. */
    std::optional<std::vector<takings::order_line>> order_lines;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
    /* For a capture or a refund with a reference: whether the order is searched for it first.
     * Found once, with this amount, it is the result, with a warning; otherwise it is made with
     * its key. That costs one request more, and holds after Klarna's 24 hours too. */
    std::optional<flag> look_first;
};

/* How the goods of an order travel. */
struct order_shipping_request {
    explicit order_shipping_request(std::vector<takings::shipping_info> shipping_info)
        : shipping_info(std::move(shipping_info)) {}

    /* The entries to append, 1 to 500. Klarna deletes none and replaces none. */
    std::vector<takings::shipping_info> shipping_info;
    /* Whether this is the first use of the idempotency key: no other process, and no earlier run
     * of this one, can have sent it. Then a refusal is the whole truth. Keys that takings makes
     * need it not. */
    std::optional<flag> first_use;
    /* When the idempotency key was sent first, in seconds since 1970 (UTC). Past Klarna's 24
     * hours nothing is sent, since Klarna would carry it out again. */
    std::optional<std::chrono::system_clock::time_point> first_used;
    /* Whether an earlier call with the idempotency key may have been carried out elsewhere: in
     * another process, on another host, or in this program before a crash. Then rejected is said
     * only where Klarna refuses the bytes themselves; any other refusal, and a request that was
     * not sent, is outcome_unknown. */
    std::optional<flag> after_unclear;
    /* Time for this call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests this call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
};

/* The refund of one capture. */
struct refund_capture_request {
    refund_capture_request(text capture_id, text reference)
        : capture_id(std::move(capture_id)), reference(std::move(reference)) {}

    /* Klarna's id of the capture. */
    text capture_id;
    /* Your own name for this refund, 1 to 255 characters. Give each refund of an order another
     * one. */
    text reference;
    /* How much is refunded, in minor units (60.00 is 6000), tax included: 1 to 200,000,000. When
     * absent, the sum of order_lines, or without those everything that is left of the capture. */
    std::optional<amount> refunded_amount;
    /* The lines that are refunded, at most 1000. When absent, those of the capture where they
     * add up to the amount. */
    std::optional<std::vector<takings::order_line>> order_lines;
};

/* The settings of a client. A setting that is absent has the library's default. */
struct config {
    /* Where the account lives; eu when only the environment is given. Not together with
     * base_url. One of eu, na, oc or kustom. */
    std::optional<text> region;
    /* Live or playground. There is no default: one of them moves money. One of live or
     * playground. */
    std::optional<text> environment;
    /* Another host than Klarna's own, with an optional path prefix:
     * https://gateway.example/klarna. Plain http only for a loopback address, or the
     * insecure_http_host. */
    std::optional<text> base_url;
    /* Allows plain http in base_url to this one host, which must not be Klarna's. Everybody on
     * the way reads the credentials and all data then, and can change answers: for a stand-in
     * Klarna in another container, with made-up data. */
    std::optional<text> insecure_http_host;
    /* The user of the pair that Klarna's portal shows. */
    std::optional<text> username;
    /* The password that belongs to username. Not together with api_key. */
    std::optional<text> password;
    /* An API key, with the username it was made together with, or alone. */
    std::optional<text> api_key;
    /* How an api_key is sent: as the password of a pair, or as it is. basic. One of basic or
     * raw. */
    std::optional<text> auth;
    /* Time to connect: name look-up, every address, TLS. 5 s; at most half of what one attempt
     * may take, so that an unreachable host is not taken for a lost answer. */
    std::optional<std::chrono::milliseconds> connect_timeout;
    /* Time for one attempt, from the first name look-up to the last byte. 10 s. */
    std::optional<std::chrono::milliseconds> attempt_timeout;
    /* Time for the whole call with all attempts and pauses. 25 s, below the 30 s after which
     * gunicorn kills a worker. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests one call may make, 1 to 20. 3. */
    std::optional<whole> max_attempts;
    /* The first pause is drawn from 0 to this, each later one from twice as much. 0.5 s. */
    std::optional<std::chrono::milliseconds> backoff;
    /* No pause is drawn from more than this. 8 s. */
    std::optional<std::chrono::milliseconds> max_backoff;
    /* A proxy for HTTPS, such as http://user:password@proxy.example:3128. Without it,
     * HTTPS_PROXY and NO_PROXY are read as curl reads them. Never used for a loopback address. */
    std::optional<text> proxy;
    /* A PEM file of certificate authorities to trust instead of the system's. */
    std::optional<text> ca_file;
    /* Your program's name for itself, appended to the User-Agent: acme-shop/2.1. */
    std::optional<text> user_agent_suffix;
    /* How order lines that do not add up are taken: warn by default. One of off, warn or refuse. */
    std::optional<text> check_lines;
    /* Let values pass that takings does not know, for the line type and shipping_method of
     * requests read from JSON or a script's values. */
    std::optional<flag> accept_unknown_values;
    /* When a capture with a reference ends unclear, search the order's captures for the one with
     * this reference and amount, and take it for the answer. Only sound when each capture of an
     * order has a reference of its own. */
    std::optional<flag> reconcile;
};

/* The limits that calls have in place of the client's settings. An absent one is the client's. */
struct options {
    /* Time for the whole call with all attempts and pauses, in place of the client's. */
    std::optional<std::chrono::milliseconds> timeout;
    /* Requests the call may make, 1 to 20, in place of the client's. */
    std::optional<whole> max_attempts;
};

/* A request of a call, for a person who has to see afterwards what happened. No credential is in
 * it, and a server's text is scrubbed. */
struct attempt {
    /* When it was begun, by the system's clock. */
    std::chrono::system_clock::time_point started;
    /* Method and URL, such as "POST
     * https://api.klarna.com/ordermanagement/v1/orders/.../captures". */
    std::string sent;
    /* How long it took. */
    std::chrono::milliseconds took;
    /* The answer or the failure, for people: 201, "503 INTERNAL_ERROR", "no answer within
     * 10.0s", "not_sent: no connection to ...". */
    std::string came_back;
    /* The HTTP status, where there was an answer. */
    std::optional<int> http_status;
    /* Klarna's error_code, where the answer had one. */
    std::optional<std::string> error_code;
    /* Klarna's name for the request, where the answer had one. */
    std::optional<std::string> correlation_id;
    /* The pause after it, where another attempt followed. */
    std::optional<std::chrono::milliseconds> wait;
    /* The pause that the answer asked for: Retry-After, or Klarna's X-Ratelimit-Reset where its
     * limit was met (429). A program that does its own retries waits for at least as long. */
    std::optional<std::chrono::milliseconds> asked_to_wait;
};

/* A capture, as Klarna has it. Every member may be absent. */
struct capture_details {
    /* Klarna's name for the capture. */
    std::optional<std::string> capture_id;
    /* Klarna's name for it towards the customer. */
    std::optional<std::string> klarna_reference;
    /* The shop's own name for it. */
    std::optional<std::string> reference;
    /* How much was captured, in minor units. */
    std::optional<std::int64_t> captured_amount;
    /* When. */
    std::optional<std::chrono::system_clock::time_point> captured_at;
    /* The text that the customer sees. */
    std::optional<std::string> description;
    /* The lines that were captured, as a request takes them. */
    std::vector<takings::order_line> order_lines;
    /* How much of it was given back, in minor units. */
    std::optional<std::int64_t> refunded_amount;
    /* Where the invoice goes, as a request takes it. */
    std::optional<takings::address> billing_address;
    /* Where the goods go, as a request takes it. */
    std::optional<takings::address> shipping_address;
    /* How its goods travel, as a request takes it. */
    std::vector<takings::shipping_info> shipping_info;
    /* The order it was asked of. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts{};
    /* The members of the answer that were of another type, and so are absent. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* When it was answered, by the server's clock, or by this machine's where the server tells
     * none. */
    std::optional<std::chrono::system_clock::time_point> answered_at;
    /* The JSON text, exactly as Klarna wrote it, with all members that Klarna has added. */
    std::string raw;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* The captures of an order. */
struct captures {
    /* Each of them, the first made first. */
    std::vector<takings::capture_details> captures;
    /* The order it was asked of. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts{};
    /* The members of the answer that were of another type, and so are absent. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* When it was answered, by the server's clock, or by this machine's where the server tells
     * none. */
    std::optional<std::chrono::system_clock::time_point> answered_at;
    /* The JSON text, exactly as Klarna wrote it, with all members that Klarna has added. */
    std::string raw;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* The customer of an order. */
struct customer {
    /* In the form 1980-12-31. */
    std::optional<std::string> date_of_birth;
    /* The number by which the customer's country knows the customer. */
    std::optional<std::string> national_identification_number;
    /* A person or an organization. */
    std::optional<std::string> type;
};

/* An extension of a due date. */
struct due_date_option {
    /* By how many days, for extend_due_date. */
    std::optional<std::int64_t> number_of_days;
    /* Its fee in minor units. */
    std::optional<std::int64_t> amount;
};

/* How far the due date of a capture can be extended. */
struct due_date_options {
    /* The currency of the fees: three letters, as in ISO 4217. */
    std::optional<std::string> currency;
    /* Each extension on offer. */
    std::vector<takings::due_date_option> options;
    /* The order it was asked of. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts{};
    /* The members of the answer that were of another type, and so are absent. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* When it was answered, by the server's clock, or by this machine's where the server tells
     * none. */
    std::optional<std::chrono::system_clock::time_point> answered_at;
    /* The JSON text, exactly as Klarna wrote it, with all members that Klarna has added. */
    std::string raw;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* How the customer chose to pay. */
struct initial_payment_method {
    /* Klarna's word for it, such as INVOICE or PAY_LATER_IN_PARTS. */
    std::optional<std::string> type;
    /* Words for people. */
    std::optional<std::string> description;
    /* How many instalments there are. */
    std::optional<std::int64_t> number_of_installments;
};

/* A refund, as Klarna has it. Every member may be absent: of old orders the id is. */
struct refund_details {
    /* Klarna's name for the refund. */
    std::optional<std::string> refund_id;
    /* The shop's own name for it. */
    std::optional<std::string> reference;
    /* How much was given back, in minor units. */
    std::optional<std::int64_t> refunded_amount;
    /* When. */
    std::optional<std::chrono::system_clock::time_point> refunded_at;
    /* The text that the customer sees. */
    std::optional<std::string> description;
    /* The lines that were given back, as a request takes them. */
    std::vector<takings::order_line> order_lines;
    /* Whether an invoice was credited, of orders of companies. */
    std::optional<std::string> credit_invoice;
    /* The order it was asked of. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts{};
    /* The members of the answer that were of another type, and so are absent. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* When it was answered, by the server's clock, or by this machine's where the server tells
     * none. */
    std::optional<std::chrono::system_clock::time_point> answered_at;
    /* The JSON text, exactly as Klarna wrote it, with all members that Klarna has added. */
    std::string raw;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* How the customer chose to have the goods shipped. */
struct selected_shipping_option {
    /* The id of the choice. */
    std::optional<std::string> id;
    /* Its name. */
    std::optional<std::string> name;
    /* Its type. */
    std::optional<std::string> type;
    /* The method of shipping. */
    std::optional<std::string> method;
    /* The carrier. */
    std::optional<std::string> carrier;
    /* Its price in minor units, tax included. */
    std::optional<std::int64_t> price;
    /* The tax in it, in minor units. */
    std::optional<std::int64_t> tax_amount;
    /* The tax rate in hundredths of a percent. */
    std::optional<std::int64_t> tax_rate;
    /* The reference of the shop's transport system. */
    std::optional<std::string> tms_reference;
};

/* Known values of status; Klarna may add others. */
struct order_status {
    static constexpr const char *authorized = "AUTHORIZED";
    static constexpr const char *part_captured = "PART_CAPTURED";
    static constexpr const char *captured = "CAPTURED";
    static constexpr const char *cancelled = "CANCELLED";
    static constexpr const char *expired = "EXPIRED";
    static constexpr const char *closed = "CLOSED";
};

/* Known values of fraud_status; Klarna may add others. */
struct order_fraud_status {
    static constexpr const char *accepted = "ACCEPTED";
    static constexpr const char *pending = "PENDING";
    static constexpr const char *rejected = "REJECTED";
    static constexpr const char *stopped = "STOPPED";
};

/* An order, as Klarna has it. Every member may be absent. */
struct order {
    /* The state. Klarna may add others. takings::order_status has the known ones. */
    std::optional<std::string> status;
    /* The end of Klarna's check for fraud. Klarna may add others. takings::order_fraud_status
     * has the known ones. */
    std::optional<std::string> fraud_status;
    /* The order's amount in minor units. */
    std::optional<std::int64_t> order_amount;
    /* The amount as the order was made, in minor units. */
    std::optional<std::int64_t> original_order_amount;
    /* How much was captured, in minor units. */
    std::optional<std::int64_t> captured_amount;
    /* How much was given back, in minor units. */
    std::optional<std::int64_t> refunded_amount;
    /* How much can still be captured, in minor units. */
    std::optional<std::int64_t> remaining_authorized_amount;
    /* The currency's three letters, as in ISO 4217, in any case. */
    std::optional<std::string> purchase_currency;
    /* The country's two letters, as in ISO 3166, in any case. */
    std::optional<std::string> purchase_country;
    /* The customer's language, such as sv-SE. */
    std::optional<std::string> locale;
    /* The lines that the order has, as a request takes them. */
    std::vector<takings::order_line> order_lines;
    /* The order number that the customer sees. */
    std::optional<std::string> merchant_reference1;
    /* A second reference of the shop's. */
    std::optional<std::string> merchant_reference2;
    /* The shop's own data. */
    std::optional<std::string> merchant_data;
    /* Klarna's name for the order towards the customer. */
    std::optional<std::string> klarna_reference;
    /* The customer. */
    std::optional<takings::customer> customer;
    /* Where the invoice goes, as a request takes it. */
    std::optional<takings::address> billing_address;
    /* Where the goods go, as a request takes it. */
    std::optional<takings::address> shipping_address;
    /* When the order was made. */
    std::optional<std::chrono::system_clock::time_point> created_at;
    /* Until when it can be captured. */
    std::optional<std::chrono::system_clock::time_point> expires_at;
    /* Its captures, the first made first. */
    std::vector<takings::capture_details> captures;
    /* Its refunds, the first made first. */
    std::vector<takings::refund_details> refunds;
    /* How its goods travel, as a request takes it. */
    std::vector<takings::shipping_info> shipping_info;
    /* The payment method that the customer chose. */
    std::optional<takings::initial_payment_method> initial_payment_method;
    /* The way of shipping that the customer chose. */
    std::optional<takings::selected_shipping_option> selected_shipping_option;
    /* The order it was asked of. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts{};
    /* The members of the answer that were of another type, and so are absent. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* When it was answered, by the server's clock, or by this machine's where the server tells
     * none. */
    std::optional<std::chrono::system_clock::time_point> answered_at;
    /* The JSON text, exactly as Klarna wrote it, with all members that Klarna has added. */
    std::string raw;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;

    /* The reasons for which this capture is likely to be refused or to be a mistake, each a line for a
     * person; none is a good sign. It looks at raw and answered_at alone and sends nothing: Klarna
     * alone decides, so never refuse a capture for them. A request that no call would take is a reason
     * as well. Throws invalid_input where raw is no order. */
    std::vector<std::string> check_capture(const capture_request &request) const;
    std::vector<std::string> check_capture(const text &request_json) const;

    /* The same of a refund. */
    std::vector<std::string> check_refund(const refund_request &request) const;
    std::vector<std::string> check_refund(const text &request_json) const;
};

/* A call that Klarna has carried out, and answers with nothing more. */
struct confirmation {
    /* The order it was for. */
    std::string order_id;
    /* The key the call used, given or made. */
    std::string idempotency_key;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts;
    /* Warnings to be read by a person, though it was carried out. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* Klarna captured it: ship. */
struct capture {
    /* Klarna's name for the capture. */
    std::string capture_id;
    /* The order it belongs to. */
    std::string order_id;
    /* The key the call used, given or made. */
    std::string idempotency_key;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more; 0 where a key past its 24 hours was known to have
     * captured, and nothing was sent. */
    std::uint32_t attempts;
    /* Order lines that do not add up (see the setting check_lines), though it was captured all
     * the same; and that an earlier call of this client with the same key was answered with
     * another capture. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. The requests that
     * searched for the capture are among them. */
    std::vector<attempt> attempt_log;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* Klarna gives the money back. */
struct refund {
    /* Klarna's name for the refund. It is absent only where a query found the refund in an order
     * that names none. */
    std::optional<std::string> refund_id;
    /* The order it belongs to. */
    std::string order_id;
    /* The key the call used, given or made. */
    std::string idempotency_key;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more; 0 where a key past its 24 hours was known to have
     * refunded, and nothing was sent. */
    std::uint32_t attempts;
    /* Order lines that do not add up (see the setting check_lines), and that a refund cannot be
     * found again. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. The requests that
     * searched for the refund are among them. */
    std::vector<attempt> attempt_log;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* The result of a query of an order's captures. */
struct reconciliation {
    /* How often: once, never or several; amount_differs if the reference was found with another
     * amount alone. never says so only of the moment: a capture whose answer was lost may still
     * be on its way, so capture again with the same key, not with a new one. */
    takings_found_t found;
    /* Every capture with this reference and amount, as Klarna lists them. */
    std::vector<std::string> capture_ids;
    /* The order whose captures were read. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* Every capture with this reference and another amount. */
    std::vector<std::string> other_capture_ids;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;

    /* The capture, if it was found once. */
    std::optional<std::string> capture_id() const {
        return capture_ids.size() == 1 ? std::optional<std::string>(capture_ids.front()) : std::nullopt;
    }
};

/* The result of a query for a refund. */
struct refund_reconciliation {
    /* How often: once, never or several; amount_differs if the reference was found with another
     * amount alone. never says so only of the moment: a refund whose answer was lost may still
     * be on its way, so refund again with the same key, not with a new one. */
    takings_found_t found;
    /* Every refund with this reference and amount, as Klarna lists them. */
    std::vector<std::string> refund_ids;
    /* The order whose refunds were read. */
    std::string order_id;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* Every refund with this reference and another amount. */
    std::vector<std::string> other_refund_ids;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;

    /* The refund, if it was found once and the order names its id. */
    std::optional<std::string> refund_id() const {
        return refund_ids.size() == 1 ? std::optional<std::string>(refund_ids.front()) : std::nullopt;
    }
};

/* How an order was ended. */
struct order_end {
    /* cancelled: the order is cancelled. released: what was not captured is released. nothing:
     * nothing was left to cancel or to release, as of an order that is captured in full, expired
     * or closed. */
    std::string done;
    /* The order it was for. */
    std::string order_id;
    /* The key of the request that changed the order; none without one. */
    std::optional<std::string> idempotency_key;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts;
    /* Warnings to be read by a person. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* The time until which an order can be captured. */
struct extension {
    /* Whether it was extended. It was not where enough time is left, or nothing is left to
     * capture. */
    bool extended;
    /* When the authorization ended before the call, as Klarna wrote it. */
    std::string old_expires_at;
    /* When it ends now, as Klarna wrote it. It is absent where it was extended and could not be
     * read afterwards. */
    std::optional<std::string> expires_at;
    /* The order it was for. */
    std::string order_id;
    /* The key of the request that extended it; none where none was made. */
    std::optional<std::string> idempotency_key;
    /* Klarna's name for the answered request, where it gave one. */
    std::optional<std::string> correlation_id;
    /* How many requests it took, 1 or more. */
    std::uint32_t attempts;
    /* Warnings to be read by a person. */
    std::vector<std::string> warnings;
    /* Each request with its time, what came back and the pause after it. */
    std::vector<attempt> attempt_log;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* A capture or a refund that is to be made, as a row of the ledger's table. */
struct intent {
    /* capture or refund. */
    std::string operation;
    /* The table: takings_capture or takings_refund. */
    std::string table;
    /* The account of the ledger. */
    std::string account;
    /* The order, a UUID in small letters. */
    std::string order_id;
    /* The shop's own name for it. */
    std::string reference;
    /* How much is captured, in minor units; none for a refund. */
    std::optional<std::int64_t> captured_amount;
    /* How much is given back, in minor units; none for a capture. */
    std::optional<std::int64_t> refunded_amount;
    /* The other fields of Klarna's request as JSON, always the same text for the same fields;
     * none without others. */
    std::optional<std::string> request;
    /* The key with which it is sent, derived from the reference. */
    std::string idempotency_key;
    /* Order lines that do not add up. */
    std::vector<std::string> warnings;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;

    /* The row of a capture for a ledger in your own database, without a client and without I/O. The
     * request must have a reference, from which the key is derived, and no limits of a call. Throws
     * invalid_input, naming the field. */
    static intent capture(const text &order_id, const capture_request &request);

    /* The row of a refund, as capture makes that of a capture. */
    static intent refund(const text &order_id, const refund_request &request);

    /* The same of the operation "capture" or "refund" with the request as JSON text, which may also
     * have account, the account of the ledger. */
    static intent from_json(const text &operation, const text &order_id, const text &request_json);

    /* The INSERT with the placeholders that your database library takes: "?", "%s", "$1" or ":name".
     * They stand for account, order_id, reference, the amount and request, in this order. Bind the
     * amount as a number. Throws invalid_input for another style. */
    std::string insert(const text &style) const;
};

/* The facts of an error. */
struct error_fields {
    /* The meaning of the error for the money. */
    takings_error_kind_t kind;
    std::string kind_name;
    /* The error in one line: what happened, where, and the way out. */
    std::string message;
    /* The HTTP status of the last answer, when there was one. */
    std::optional<int> http_status;
    /* Klarna's error_code from the last answer, such as CAPTURE_NOT_ALLOWED. Made for programs;
     * new ones may appear. */
    std::optional<std::string> error_code;
    /* Klarna's error_messages from the last answer: English text for the developer, whose
     * wording changes. At most 20, each at most 500 characters. */
    std::vector<std::string> error_messages;
    /* Klarna's name for the failed request: quote it to Klarna's support. */
    std::optional<std::string> correlation_id;
    /* The order the call was for, when it got as far as having one. */
    std::optional<std::string> order_id;
    /* The key the call used. Keep it: after outcome_unknown, calling again with it is what makes
     * the second call safe. */
    std::optional<std::string> idempotency_key;
    /* How many requests were begun, 0 when nothing was sent. */
    std::uint32_t attempts;
    /* Each request with its time, what came back and the pause after it. The requests that
     * searched for the capture are among them. */
    std::vector<attempt> attempt_log;
    /* Whether the same call, with the same key, can end differently later. True for not_sent, a
     * rate limit, and an internal error after a request was begun. True for outcome_unknown too,
     * but not after a refused query, or for a key past its 24 hours. */
    bool retryable;
    /* All fields as a JSON object, as takings.h gives it. */
    std::string json;
};

/* Why a call did not end well. The class says what it means for the money; what() is one line
 * for a log. A copy shares the fields, which outlive the client. */
class error : public std::runtime_error {
public:
    explicit error(error_fields fields)
        : std::runtime_error(fields.message), fields_(std::make_shared<const error_fields>(std::move(fields))) {}
    /* A moved-from error keeps its fields. */
    error(const error &) = default;
    error &operator=(const error &) = default;

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
    const std::string &json() const noexcept { return fields_->json; }

private:
    std::shared_ptr<const error_fields> fields_;
};

/* Our own check refused the input. Nothing was sent. Fix the code or the data. */
class invalid_input : public error {
    using error::error;
};

/* No part of this call can have reached Klarna (name look-up, refused connection, TLS, proxy).
 * Call again at any time, with the same key. */
class not_sent : public error {
    using error::error;
};

/* Klarna refused it, and nothing was captured under this key, ever. Fix the cause; the corrected
 * capture needs a new idempotency key. */
class rejected : public error {
    using error::error;
};

/* The order may have been captured: an answer was lost or made no sense, or an earlier call with
 * the key, of which nothing is known here, may have captured. Call again with the same
 * idempotency key within 24 hours of its first use; never book it as failed. */
class outcome_unknown : public error {
    using error::error;
};

/* A bug in takings. Report it; if attempts is above 0, treat it as outcome_unknown. */
class internal_error : public error {
    using error::error;
};
/* end of generated */

namespace detail {

/* generated: conversions (scripts/generate.py, from the core's declarations) */
inline std::string text(const char *text) { return text ? text : ""; }

inline std::optional<std::string> optional_text(const char *text) {
    return text ? std::optional<std::string>(text) : std::nullopt;
}

template <typename T>
std::optional<T> optional_number(T number) {
    return number != 0 ? std::optional<T>(number) : std::nullopt;
}

inline std::chrono::milliseconds duration(std::int64_t ms) { return std::chrono::milliseconds(ms); }

inline std::optional<std::chrono::milliseconds> optional_duration(std::int64_t ms) {
    return ms >= 0 ? std::optional<std::chrono::milliseconds>(ms) : std::nullopt;
}

inline std::chrono::system_clock::time_point time(std::int64_t ms) {
    return std::chrono::system_clock::time_point(std::chrono::milliseconds(ms));
}

inline std::optional<std::chrono::system_clock::time_point> optional_time(std::int64_t ms) {
    return ms >= 0 ? std::make_optional(time(ms)) : std::nullopt;
}

/* A time for takings.h, where a number below 0 stands for none. */
inline std::int64_t milliseconds(const std::optional<std::chrono::system_clock::time_point> &time) {
    using std::chrono::milliseconds;
    return time ? std::chrono::duration_cast<milliseconds>(time->time_since_epoch()).count() : -1;
}

template <typename T>
std::vector<std::string> texts(const T *from, std::size_t (*count)(const T *),
                               const char *(*at)(const T *, std::size_t)) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < count(from); ++i) {
        texts.emplace_back(text(at(from, i)));
    }
    return texts;
}

struct closer {
    void operator()(takings_client_t *held) const noexcept { takings_client_free(held); }
    void operator()(takings_call_t *held) const noexcept { takings_call_free(held); }
    void operator()(takings_reply_t *held) const noexcept { takings_reply_free(held); }
    void operator()(takings_error_t *held) const noexcept { takings_error_free(held); }
    void operator()(takings_document_t *held) const noexcept { takings_document_free(held); }
    void operator()(takings_confirmation_t *held) const noexcept { takings_confirmation_free(held); }
    void operator()(takings_capture_t *held) const noexcept { takings_capture_free(held); }
    void operator()(takings_refund_t *held) const noexcept { takings_refund_free(held); }
    void operator()(takings_reconciliation_t *held) const noexcept { takings_reconciliation_free(held); }
    void operator()(takings_refund_reconciliation_t *held) const noexcept { takings_refund_reconciliation_free(held); }
    void operator()(takings_order_end_t *held) const noexcept { takings_order_end_free(held); }
    void operator()(takings_extension_t *held) const noexcept { takings_extension_free(held); }
    void operator()(takings_check_t *held) const noexcept { takings_check_free(held); }
    void operator()(takings_intent_t *held) const noexcept { takings_intent_free(held); }
    void operator()(char *held) const noexcept { takings_string_free(held); }
};

/* Visits the fields of a request or of settings, under their names in JSON. */
template <typename T>
struct fields;

template <>
struct fields<product_identifiers> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("brand", value.brand);
        visit("category_path", value.category_path);
        visit("global_trade_item_number", value.global_trade_item_number);
        visit("manufacturer_part_number", value.manufacturer_part_number);
        visit("color", value.color);
        visit("size", value.size);
    }
};

template <>
struct fields<subscription> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("name", value.name);
        visit("interval", value.interval);
        visit("interval_count", value.interval_count);
    }
};

template <>
struct fields<order_line> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("type", value.type);
        visit("reference", value.reference);
        visit("name", value.name);
        visit("quantity", value.quantity);
        visit("quantity_unit", value.quantity_unit);
        visit("unit_price", value.unit_price);
        visit("tax_rate", value.tax_rate);
        visit("total_amount", value.total_amount);
        visit("total_discount_amount", value.total_discount_amount);
        visit("total_tax_amount", value.total_tax_amount);
        visit("merchant_data", value.merchant_data);
        visit("product_url", value.product_url);
        visit("image_url", value.image_url);
        visit("product_identifiers", value.product_identifiers);
        visit("subscription", value.subscription);
    }
};

template <>
struct fields<authorization_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("order_amount", value.order_amount);
        visit("description", value.description);
        visit("order_lines", value.order_lines);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
    }
};

template <>
struct fields<shipping_info> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("shipping_company", value.shipping_company);
        visit("shipping_method", value.shipping_method);
        visit("tracking_number", value.tracking_number);
        visit("tracking_uri", value.tracking_uri);
        visit("return_shipping_company", value.return_shipping_company);
        visit("return_tracking_number", value.return_tracking_number);
        visit("return_tracking_uri", value.return_tracking_uri);
    }
};

template <>
struct fields<capture_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("captured_amount", value.captured_amount);
        visit("reference", value.reference);
        visit("description", value.description);
        visit("order_lines", value.order_lines);
        visit("shipping_info", value.shipping_info);
        visit("shipping_delay", value.shipping_delay);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
        visit("look_first", value.look_first);
    }
};

template <>
struct fields<capture_shipping_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("capture_id", value.capture_id);
        visit("shipping_info", value.shipping_info);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
    }
};

template <>
struct fields<address> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("given_name", value.given_name);
        visit("family_name", value.family_name);
        visit("organization_name", value.organization_name);
        visit("attention", value.attention);
        visit("title", value.title);
        visit("street_address", value.street_address);
        visit("street_address2", value.street_address2);
        visit("postal_code", value.postal_code);
        visit("city", value.city);
        visit("region", value.region);
        visit("country", value.country);
        visit("email", value.email);
        visit("phone", value.phone);
    }
};

template <>
struct fields<customer_details_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("shipping_address", value.shipping_address);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
    }
};

template <>
struct fields<merchant_references_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("merchant_reference1", value.merchant_reference1);
        visit("merchant_reference2", value.merchant_reference2);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
    }
};

template <>
struct fields<refund_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("refunded_amount", value.refunded_amount);
        visit("reference", value.reference);
        visit("description", value.description);
        visit("order_lines", value.order_lines);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
        visit("look_first", value.look_first);
    }
};

template <>
struct fields<order_shipping_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("shipping_info", value.shipping_info);
        visit("first_use", value.first_use);
        visit("first_used", value.first_used);
        visit("after_unclear", value.after_unclear);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
    }
};

template <>
struct fields<refund_capture_request> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("capture_id", value.capture_id);
        visit("reference", value.reference);
        visit("refunded_amount", value.refunded_amount);
        visit("order_lines", value.order_lines);
    }
};

template <>
struct fields<config> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("region", value.region);
        visit("environment", value.environment);
        visit("base_url", value.base_url);
        visit("insecure_http_host", value.insecure_http_host);
        visit("username", value.username);
        visit("password", value.password);
        visit("api_key", value.api_key);
        visit("auth", value.auth);
        visit("connect_timeout_ms", value.connect_timeout);
        visit("attempt_timeout_ms", value.attempt_timeout);
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
        visit("backoff_ms", value.backoff);
        visit("max_backoff_ms", value.max_backoff);
        visit("proxy", value.proxy);
        visit("ca_file", value.ca_file);
        visit("user_agent_suffix", value.user_agent_suffix);
        visit("check_lines", value.check_lines);
        visit("accept_unknown_values", value.accept_unknown_values);
        visit("reconcile", value.reconcile);
    }
};

template <>
struct fields<options> {
    template <typename T, typename Visit>
    static void each(T &value, Visit visit) {
        visit("timeout_ms", value.timeout);
        visit("max_attempts", value.max_attempts);
    }
};

/* Writes the JSON text that takings.h takes. Strings go out as they are, escaped
 * where JSON asks for it, so that the library judges them. */
class json {
public:
    template <typename T>
    static std::string of(const T &value) {
        json out;
        out.write(value);
        return std::move(out.text_);
    }

private:
    template <typename T>
    void write(const T &value) {
        if constexpr (std::is_convertible_v<const T &, std::string_view>) {
            write_text(value);
        } else if constexpr (std::is_same_v<T, flag>) {
            text_ += value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, whole>) {
            text_ += std::to_string(value.value());
        } else if constexpr (std::is_same_v<T, std::chrono::milliseconds>) {
            text_ += std::to_string(value.count());
        } else if constexpr (std::is_same_v<T, std::chrono::system_clock::time_point>) {
            using std::chrono::seconds;
            const auto time = std::chrono::duration_cast<seconds>(value.time_since_epoch());
            text_ += std::to_string(time.count());
        } else {
            text_ += '{';
            fields<T>::each(value, [this](const char *name, const auto &field) {
                member(name, field);
            });
            text_ += '}';
        }
    }

    template <typename T>
    void write(const std::vector<T> &items) {
        text_ += '[';
        for (const T &item : items) {
            comma('[');
            write(item);
        }
        text_ += ']';
    }

    template <typename T>
    void member(const char *name, const T &value) {
        comma('{');
        write_text(name);
        text_ += ':';
        write(value);
    }

    template <typename T>
    void member(const char *name, const std::optional<T> &value) {
        if (value) {
            member(name, *value);
        }
    }

    void write_text(std::string_view value) {
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

    void comma(char opening) {
        if (text_.back() != opening) {
            text_ += ',';
        }
    }

    std::string text_;
};

inline attempt read(const takings_attempt_t *from) {
    takings::attempt into{};
    into.started = time(takings_attempt_started_ms(from));
    into.sent = text(takings_attempt_sent(from));
    into.took = duration(takings_attempt_took_ms(from));
    into.came_back = text(takings_attempt_came_back(from));
    into.http_status = optional_number<int>(takings_attempt_http_status(from));
    into.error_code = optional_text(takings_attempt_error_code(from));
    into.correlation_id = optional_text(takings_attempt_correlation_id(from));
    into.wait = optional_duration(takings_attempt_wait_ms(from));
    into.asked_to_wait = optional_duration(takings_attempt_asked_to_wait_ms(from));
    return into;
}

template <typename T>
std::vector<attempt> attempts(const T *from, std::size_t (*count)(const T *),
                              const takings_attempt_t *(*at)(const T *, std::size_t)) {
    std::vector<attempt> log;
    for (std::size_t i = 0; i < count(from); ++i) {
        log.push_back(read(at(from, i)));
    }
    return log;
}

/* Reads a value of a document; nothing where it is absent. */
template <typename T>
struct reader;

template <typename T>
std::optional<T> member(const takings_value_t *from, const char *name) {
    const takings_value_t *found = takings_value_member(from, name);
    return found ? reader<T>::read(found) : std::nullopt;
}

template <>
struct reader<std::string> {
    static std::optional<std::string> read(const takings_value_t *from) {
        return optional_text(takings_value_text(from));
    }
};

template <>
struct reader<takings::text> {
    static std::optional<takings::text> read(const takings_value_t *from) {
        const char *found = takings_value_text(from);
        return found ? std::optional<takings::text>(found) : std::nullopt;
    }
};

template <>
struct reader<std::int64_t> {
    static std::optional<std::int64_t> read(const takings_value_t *from) {
        std::int64_t value = 0;
        const bool found = takings_value_integer(from, &value);
        return found ? std::optional<std::int64_t>(value) : std::nullopt;
    }
};

template <>
struct reader<whole> {
    static std::optional<whole> read(const takings_value_t *from) {
        const auto value = reader<std::int64_t>::read(from);
        return value ? std::optional<whole>(*value) : std::nullopt;
    }
};

template <>
struct reader<std::chrono::system_clock::time_point> {
    static std::optional<std::chrono::system_clock::time_point> read(const takings_value_t *from) {
        using point = std::chrono::system_clock::time_point;
        std::int64_t ms = 0;
        return takings_value_time_ms(from, &ms) ? std::optional<point>(time(ms)) : std::nullopt;
    }
};

/* A list with an item that no request could have is absent: a part of it would be another sum. */
template <typename T>
struct reader<std::vector<T>> {
    static std::optional<std::vector<T>> read(const takings_value_t *from) {
        std::vector<T> items;
        for (std::size_t i = 0; i < takings_value_count(from); ++i) {
            auto item = reader<T>::read(takings_value_at(from, i));
            if (!item) {
                return std::nullopt;
            }
            items.push_back(std::move(*item));
        }
        return items;
    }
};

template <>
struct reader<takings::product_identifiers> {
    static std::optional<takings::product_identifiers> read(const takings_value_t *from) {
        takings::product_identifiers into{};
        into.brand = member<takings::text>(from, "brand");
        into.category_path = member<takings::text>(from, "category_path");
        into.global_trade_item_number = member<takings::text>(from, "global_trade_item_number");
        into.manufacturer_part_number = member<takings::text>(from, "manufacturer_part_number");
        into.color = member<takings::text>(from, "color");
        into.size = member<takings::text>(from, "size");
        return into;
    }
};

template <>
struct reader<takings::subscription> {
    static std::optional<takings::subscription> read(const takings_value_t *from) {
        auto name = member<takings::text>(from, "name");
        auto interval = member<takings::text>(from, "interval");
        auto interval_count = member<whole>(from, "interval_count");
        if (!name || !interval || !interval_count) {
            return std::nullopt;
        }
        takings::subscription into(std::move(*name), std::move(*interval), std::move(*interval_count));
        return into;
    }
};

template <>
struct reader<takings::order_line> {
    static std::optional<takings::order_line> read(const takings_value_t *from) {
        auto name = member<takings::text>(from, "name");
        auto quantity = member<whole>(from, "quantity");
        auto unit_price = member<amount>(from, "unit_price");
        auto total_amount = member<amount>(from, "total_amount");
        if (!name || !quantity || !unit_price || !total_amount) {
            return std::nullopt;
        }
        takings::order_line into(std::move(*name), std::move(*quantity), std::move(*unit_price), std::move(*total_amount));
        into.type = member<takings::text>(from, "type");
        into.reference = member<takings::text>(from, "reference");
        into.quantity_unit = member<takings::text>(from, "quantity_unit");
        into.tax_rate = member<whole>(from, "tax_rate");
        into.total_discount_amount = member<amount>(from, "total_discount_amount");
        into.total_tax_amount = member<amount>(from, "total_tax_amount");
        into.merchant_data = member<takings::text>(from, "merchant_data");
        into.product_url = member<takings::text>(from, "product_url");
        into.image_url = member<takings::text>(from, "image_url");
        into.product_identifiers = member<takings::product_identifiers>(from, "product_identifiers");
        into.subscription = member<takings::subscription>(from, "subscription");
        return into;
    }
};

template <>
struct reader<takings::shipping_info> {
    static std::optional<takings::shipping_info> read(const takings_value_t *from) {
        takings::shipping_info into{};
        into.shipping_company = member<takings::text>(from, "shipping_company");
        into.shipping_method = member<takings::text>(from, "shipping_method");
        into.tracking_number = member<takings::text>(from, "tracking_number");
        into.tracking_uri = member<takings::text>(from, "tracking_uri");
        into.return_shipping_company = member<takings::text>(from, "return_shipping_company");
        into.return_tracking_number = member<takings::text>(from, "return_tracking_number");
        into.return_tracking_uri = member<takings::text>(from, "return_tracking_uri");
        return into;
    }
};

template <>
struct reader<takings::address> {
    static std::optional<takings::address> read(const takings_value_t *from) {
        takings::address into{};
        into.given_name = member<takings::text>(from, "given_name");
        into.family_name = member<takings::text>(from, "family_name");
        into.organization_name = member<takings::text>(from, "organization_name");
        into.attention = member<takings::text>(from, "attention");
        into.title = member<takings::text>(from, "title");
        into.street_address = member<takings::text>(from, "street_address");
        into.street_address2 = member<takings::text>(from, "street_address2");
        into.postal_code = member<takings::text>(from, "postal_code");
        into.city = member<takings::text>(from, "city");
        into.region = member<takings::text>(from, "region");
        into.country = member<takings::text>(from, "country");
        into.email = member<takings::text>(from, "email");
        into.phone = member<takings::text>(from, "phone");
        return into;
    }
};

template <>
struct reader<takings::capture_details> {
    static std::optional<takings::capture_details> read(const takings_value_t *from) {
        takings::capture_details into{};
        into.capture_id = member<std::string>(from, "capture_id");
        into.klarna_reference = member<std::string>(from, "klarna_reference");
        into.reference = member<std::string>(from, "reference");
        into.captured_amount = member<std::int64_t>(from, "captured_amount");
        into.captured_at = member<std::chrono::system_clock::time_point>(from, "captured_at");
        into.description = member<std::string>(from, "description");
        into.order_lines = member<std::vector<takings::order_line>>(from, "order_lines").value_or(std::vector<takings::order_line>());
        into.refunded_amount = member<std::int64_t>(from, "refunded_amount");
        into.billing_address = member<takings::address>(from, "billing_address");
        into.shipping_address = member<takings::address>(from, "shipping_address");
        into.shipping_info = member<std::vector<takings::shipping_info>>(from, "shipping_info").value_or(std::vector<takings::shipping_info>());
        into.raw = text(takings_value_text(from));
        return into;
    }
};

template <>
struct reader<takings::captures> {
    static std::optional<takings::captures> read(const takings_value_t *from) {
        takings::captures into{};
        into.captures = member<std::vector<takings::capture_details>>(from, "captures").value_or(std::vector<takings::capture_details>());
        into.raw = text(takings_value_text(from));
        return into;
    }
};

template <>
struct reader<takings::customer> {
    static std::optional<takings::customer> read(const takings_value_t *from) {
        takings::customer into{};
        into.date_of_birth = member<std::string>(from, "date_of_birth");
        into.national_identification_number = member<std::string>(from, "national_identification_number");
        into.type = member<std::string>(from, "type");
        return into;
    }
};

template <>
struct reader<takings::due_date_option> {
    static std::optional<takings::due_date_option> read(const takings_value_t *from) {
        takings::due_date_option into{};
        into.number_of_days = member<std::int64_t>(from, "number_of_days");
        into.amount = member<std::int64_t>(from, "amount");
        return into;
    }
};

template <>
struct reader<takings::due_date_options> {
    static std::optional<takings::due_date_options> read(const takings_value_t *from) {
        takings::due_date_options into{};
        into.currency = member<std::string>(from, "currency");
        into.options = member<std::vector<takings::due_date_option>>(from, "options").value_or(std::vector<takings::due_date_option>());
        into.raw = text(takings_value_text(from));
        return into;
    }
};

template <>
struct reader<takings::initial_payment_method> {
    static std::optional<takings::initial_payment_method> read(const takings_value_t *from) {
        takings::initial_payment_method into{};
        into.type = member<std::string>(from, "type");
        into.description = member<std::string>(from, "description");
        into.number_of_installments = member<std::int64_t>(from, "number_of_installments");
        return into;
    }
};

template <>
struct reader<takings::refund_details> {
    static std::optional<takings::refund_details> read(const takings_value_t *from) {
        takings::refund_details into{};
        into.refund_id = member<std::string>(from, "refund_id");
        into.reference = member<std::string>(from, "reference");
        into.refunded_amount = member<std::int64_t>(from, "refunded_amount");
        into.refunded_at = member<std::chrono::system_clock::time_point>(from, "refunded_at");
        into.description = member<std::string>(from, "description");
        into.order_lines = member<std::vector<takings::order_line>>(from, "order_lines").value_or(std::vector<takings::order_line>());
        into.credit_invoice = member<std::string>(from, "credit_invoice");
        into.raw = text(takings_value_text(from));
        return into;
    }
};

template <>
struct reader<takings::selected_shipping_option> {
    static std::optional<takings::selected_shipping_option> read(const takings_value_t *from) {
        takings::selected_shipping_option into{};
        into.id = member<std::string>(from, "id");
        into.name = member<std::string>(from, "name");
        into.type = member<std::string>(from, "type");
        into.method = member<std::string>(from, "method");
        into.carrier = member<std::string>(from, "carrier");
        into.price = member<std::int64_t>(from, "price");
        into.tax_amount = member<std::int64_t>(from, "tax_amount");
        into.tax_rate = member<std::int64_t>(from, "tax_rate");
        into.tms_reference = member<std::string>(from, "tms_reference");
        return into;
    }
};

template <>
struct reader<takings::order> {
    static std::optional<takings::order> read(const takings_value_t *from) {
        takings::order into{};
        into.status = member<std::string>(from, "status");
        into.fraud_status = member<std::string>(from, "fraud_status");
        into.order_amount = member<std::int64_t>(from, "order_amount");
        into.original_order_amount = member<std::int64_t>(from, "original_order_amount");
        into.captured_amount = member<std::int64_t>(from, "captured_amount");
        into.refunded_amount = member<std::int64_t>(from, "refunded_amount");
        into.remaining_authorized_amount = member<std::int64_t>(from, "remaining_authorized_amount");
        into.purchase_currency = member<std::string>(from, "purchase_currency");
        into.purchase_country = member<std::string>(from, "purchase_country");
        into.locale = member<std::string>(from, "locale");
        into.order_lines = member<std::vector<takings::order_line>>(from, "order_lines").value_or(std::vector<takings::order_line>());
        into.merchant_reference1 = member<std::string>(from, "merchant_reference1");
        into.merchant_reference2 = member<std::string>(from, "merchant_reference2");
        into.merchant_data = member<std::string>(from, "merchant_data");
        into.klarna_reference = member<std::string>(from, "klarna_reference");
        into.customer = member<takings::customer>(from, "customer");
        into.billing_address = member<takings::address>(from, "billing_address");
        into.shipping_address = member<takings::address>(from, "shipping_address");
        into.created_at = member<std::chrono::system_clock::time_point>(from, "created_at");
        into.expires_at = member<std::chrono::system_clock::time_point>(from, "expires_at");
        into.captures = member<std::vector<takings::capture_details>>(from, "captures").value_or(std::vector<takings::capture_details>());
        into.refunds = member<std::vector<takings::refund_details>>(from, "refunds").value_or(std::vector<takings::refund_details>());
        into.shipping_info = member<std::vector<takings::shipping_info>>(from, "shipping_info").value_or(std::vector<takings::shipping_info>());
        into.initial_payment_method = member<takings::initial_payment_method>(from, "initial_payment_method");
        into.selected_shipping_option = member<takings::selected_shipping_option>(from, "selected_shipping_option");
        into.raw = text(takings_value_text(from));
        return into;
    }
};

template <typename T>
T read_document(const takings_document_t *from) {
    T into = reader<T>::read(takings_document_at(from, "")).value_or(T{});
    into.order_id = text(takings_document_order_id(from));
    into.correlation_id = optional_text(takings_document_correlation_id(from));
    into.attempts = takings_document_attempts(from);
    into.warnings = texts(from, takings_document_warning_count, takings_document_warning);
    into.attempt_log = attempts(from, takings_document_attempt_log_count, takings_document_attempt_log);
    into.answered_at = optional_time(takings_document_answered_at_ms(from));
    into.raw = text(takings_document_raw(from));
    into.json = text(takings_document_json(from));
    return into;
}

inline confirmation read(const takings_confirmation_t *from) {
    takings::confirmation into{};
    into.order_id = text(takings_confirmation_order_id(from));
    into.idempotency_key = text(takings_confirmation_idempotency_key(from));
    into.correlation_id = optional_text(takings_confirmation_correlation_id(from));
    into.attempts = takings_confirmation_attempts(from);
    into.warnings = texts(from, takings_confirmation_warning_count, takings_confirmation_warning);
    into.attempt_log = attempts(from, takings_confirmation_attempt_log_count, takings_confirmation_attempt_log);
    into.json = text(takings_confirmation_json(from));
    return into;
}

inline capture read(const takings_capture_t *from) {
    takings::capture into{};
    into.capture_id = text(takings_capture_capture_id(from));
    into.order_id = text(takings_capture_order_id(from));
    into.idempotency_key = text(takings_capture_idempotency_key(from));
    into.correlation_id = optional_text(takings_capture_correlation_id(from));
    into.attempts = takings_capture_attempts(from);
    into.warnings = texts(from, takings_capture_warning_count, takings_capture_warning);
    into.attempt_log = attempts(from, takings_capture_attempt_log_count, takings_capture_attempt_log);
    into.json = text(takings_capture_json(from));
    return into;
}

inline refund read(const takings_refund_t *from) {
    takings::refund into{};
    into.refund_id = optional_text(takings_refund_refund_id(from));
    into.order_id = text(takings_refund_order_id(from));
    into.idempotency_key = text(takings_refund_idempotency_key(from));
    into.correlation_id = optional_text(takings_refund_correlation_id(from));
    into.attempts = takings_refund_attempts(from);
    into.warnings = texts(from, takings_refund_warning_count, takings_refund_warning);
    into.attempt_log = attempts(from, takings_refund_attempt_log_count, takings_refund_attempt_log);
    into.json = text(takings_refund_json(from));
    return into;
}

inline reconciliation read(const takings_reconciliation_t *from) {
    takings::reconciliation into{};
    into.found = takings_reconciliation_found(from);
    into.capture_ids = texts(from, takings_reconciliation_capture_id_count, takings_reconciliation_capture_id_at);
    into.order_id = text(takings_reconciliation_order_id(from));
    into.correlation_id = optional_text(takings_reconciliation_correlation_id(from));
    into.attempts = takings_reconciliation_attempts(from);
    into.attempt_log = attempts(from, takings_reconciliation_attempt_log_count, takings_reconciliation_attempt_log);
    into.other_capture_ids = texts(from, takings_reconciliation_other_capture_id_count, takings_reconciliation_other_capture_id);
    into.json = text(takings_reconciliation_json(from));
    return into;
}

inline refund_reconciliation read(const takings_refund_reconciliation_t *from) {
    takings::refund_reconciliation into{};
    into.found = takings_refund_reconciliation_found(from);
    into.refund_ids = texts(from, takings_refund_reconciliation_refund_id_count, takings_refund_reconciliation_refund_id_at);
    into.order_id = text(takings_refund_reconciliation_order_id(from));
    into.correlation_id = optional_text(takings_refund_reconciliation_correlation_id(from));
    into.attempts = takings_refund_reconciliation_attempts(from);
    into.attempt_log = attempts(from, takings_refund_reconciliation_attempt_log_count, takings_refund_reconciliation_attempt_log);
    into.other_refund_ids = texts(from, takings_refund_reconciliation_other_refund_id_count, takings_refund_reconciliation_other_refund_id);
    into.json = text(takings_refund_reconciliation_json(from));
    return into;
}

inline order_end read(const takings_order_end_t *from) {
    takings::order_end into{};
    into.done = text(takings_order_end_done(from));
    into.order_id = text(takings_order_end_order_id(from));
    into.idempotency_key = optional_text(takings_order_end_idempotency_key(from));
    into.correlation_id = optional_text(takings_order_end_correlation_id(from));
    into.attempts = takings_order_end_attempts(from);
    into.warnings = texts(from, takings_order_end_warning_count, takings_order_end_warning);
    into.attempt_log = attempts(from, takings_order_end_attempt_log_count, takings_order_end_attempt_log);
    into.json = text(takings_order_end_json(from));
    return into;
}

inline extension read(const takings_extension_t *from) {
    takings::extension into{};
    into.extended = takings_extension_extended(from);
    into.old_expires_at = text(takings_extension_old_expires_at(from));
    into.expires_at = optional_text(takings_extension_expires_at(from));
    into.order_id = text(takings_extension_order_id(from));
    into.idempotency_key = optional_text(takings_extension_idempotency_key(from));
    into.correlation_id = optional_text(takings_extension_correlation_id(from));
    into.attempts = takings_extension_attempts(from);
    into.warnings = texts(from, takings_extension_warning_count, takings_extension_warning);
    into.attempt_log = attempts(from, takings_extension_attempt_log_count, takings_extension_attempt_log);
    into.json = text(takings_extension_json(from));
    return into;
}

inline intent read(const takings_intent_t *from) {
    takings::intent into{};
    into.operation = text(takings_intent_operation(from));
    into.table = text(takings_intent_table(from));
    into.account = text(takings_intent_account(from));
    into.order_id = text(takings_intent_order_id(from));
    into.reference = text(takings_intent_reference(from));
    into.captured_amount = optional_number<std::int64_t>(takings_intent_captured_amount(from));
    into.refunded_amount = optional_number<std::int64_t>(takings_intent_refunded_amount(from));
    into.request = optional_text(takings_intent_request(from));
    into.idempotency_key = text(takings_intent_idempotency_key(from));
    into.warnings = texts(from, takings_intent_warning_count, takings_intent_warning);
    into.json = text(takings_intent_json(from));
    return into;
}

inline error_fields read(const takings_error_t *from) {
    takings::error_fields into{};
    into.kind = takings_error_kind(from);
    into.kind_name = text(takings_error_kind_name(from));
    into.message = text(takings_error_message(from));
    into.http_status = optional_number<int>(takings_error_http_status(from));
    into.error_code = optional_text(takings_error_error_code(from));
    into.error_messages = texts(from, takings_error_error_message_count, takings_error_error_message);
    into.correlation_id = optional_text(takings_error_correlation_id(from));
    into.order_id = optional_text(takings_error_order_id(from));
    into.idempotency_key = optional_text(takings_error_idempotency_key(from));
    into.attempts = takings_error_attempts(from);
    into.attempt_log = attempts(from, takings_error_attempt_log_count, takings_error_attempt_log);
    into.retryable = takings_error_retryable(from);
    into.json = text(takings_error_json(from));
    return into;
}

inline error_fields refused(const std::string &message) {
    error_fields into{};
    into.kind = TAKINGS_ERROR_INVALID_INPUT;
    into.kind_name = "invalid_input";
    into.message = message;
    into.json = "{\"kind\":\"invalid_input\", \"message\":\"" + message +
                "\", \"http_status\":null, \"error_code\":null, \"error_messages\":[],"
                "\"correlation_id\":null, \"order_id\":null, \"idempotency_key\":null,"
                "\"attempts\":0, \"attempt_log\":[], \"retryable\":false"
                "}";
    return into;
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
/* end of generated */

template <typename T>
using handle = std::unique_ptr<T, closer>;

[[noreturn]] inline void raise(takings_error_t *error) {
    const handle<takings_error_t> failure(error);
    raise(read(error));
}

/* The result of a function of takings.h; its error is thrown. */
template <typename Function>
auto ask(Function function) {
    takings_error_t *error = nullptr;
    auto *result = function(&error);
    if (!result) {
        raise(error);
    }
    return handle<std::remove_pointer_t<decltype(result)>>(result);
}

[[noreturn]] inline void refuse_null() { raise(refused("a text is NULL; it must be a string")); }

/* A text about a call that was sent. A NULL is empty, since invalid_input would say that nothing was sent. */
struct report : std::string_view {
    report(const char *text) : basic_string_view(text ? text : "") {}
    report(const std::string &text) : basic_string_view(text) {}
    report(std::string_view text) : basic_string_view(text) {}
};

/* A string for takings.h, where NUL would end it: half an order id is another order's. */
inline const char *c_string(const char *argument, const std::string &text) {
    if (text.find('\0') != std::string::npos) {
        raise(refused(std::string(argument) + " is a text with a NUL character; it must be one without"));
    }
    return text.c_str();
}

inline const char *c_string(const char *argument, const std::optional<takings::text> &text) {
    return text ? c_string(argument, *text) : nullptr;
}

} // namespace detail

/* The outcome of a call to any operation. Its fields are read by name, such as "capture_id"; the
 * operation decides which there are. A reply can be moved. */
class reply {
public:
    /* The name of the operation. */
    std::string operation() const { return detail::text(takings_reply_operation(handle_.get())); }

    /* The text of that name, if there is one. */
    std::optional<std::string> text(detail::report name) const {
        return detail::optional_text(takings_reply_text(handle_.get(), std::string(name).c_str()));
    }

    /* The number of that name, if there is one; yes and no are 1 and 0. */
    std::optional<std::int64_t> integer(detail::report name) const {
        std::int64_t value = 0;
        const bool found = takings_reply_integer(handle_.get(), std::string(name).c_str(), &value);
        return found ? std::optional<std::int64_t>(value) : std::nullopt;
    }

    /* The list of texts of that name; an empty list where there is none. */
    std::vector<std::string> texts(detail::report name) const {
        std::vector<std::string> texts;
        const std::string list(name);
        for (std::size_t i = 0; const char *text = takings_reply_text_at(handle_.get(), list.c_str(), i); ++i) {
            texts.emplace_back(text);
        }
        return texts;
    }

    /* All fields as a JSON object. */
    std::string json() const { return detail::text(takings_reply_json(handle_.get())); }

private:
    friend class call;
    friend class client;

    explicit reply(detail::handle<takings_reply_t> handle) noexcept : handle_(std::move(handle)) {}

    detail::handle<takings_reply_t> handle_;
};

/* A call that your program sends by itself: takings decides what to send, when to wait and what an
 * answer means, your HTTP client sends. The duties of that client stand in takings.h, at
 * takings_call_t.
 *
 *     takings::call call = client.prepare(order_id, request, key);
 *     takings_step_t step = call.start();
 *     while (step == TAKINGS_STEP_SEND || step == TAKINGS_STEP_WAIT) {
 *         step = step == TAKINGS_STEP_SEND ? send_over_http(call) : pause(call);
 *     }
 *     takings::capture capture = call.capture();
 *
 * A call is for one thread at a time. A call can be moved; a moved-from call has nothing to do
 * (TAKINGS_STEP_NONE). The takings client may end before the call. */
class call {
public:
    std::string order_id() const { return detail::text(takings_call_order_id(handle_.get())); }

    /* The key that the call is sent with, given or made; none for a call that changes nothing. */
    std::optional<std::string> idempotency_key() const {
        return detail::optional_text(takings_call_idempotency_key(handle_.get()));
    }

    /* Begins the call, whose time-out counts from here. */
    takings_step_t start() noexcept { return takings_call_start(handle_.get()); }

    /* The time for sending (TAKINGS_STEP_SEND), or the pause (TAKINGS_STEP_WAIT). */
    std::chrono::milliseconds time() const noexcept { return detail::duration(takings_call_time_ms(handle_.get())); }

    /* The most time for making a connection, within the time for sending. */
    std::chrono::milliseconds connect_timeout() const noexcept {
        return detail::duration(takings_call_connect_timeout_ms(handle_.get()));
    }

    /* The request, while it is to be sent. The header authorization is the credential. */
    std::string method() const { return detail::text(takings_call_method(handle_.get())); }
    std::string url() const { return detail::text(takings_call_url(handle_.get())); }
    std::vector<std::pair<std::string, std::string>> headers() const {
        std::vector<std::pair<std::string, std::string>> headers;
        for (std::size_t i = 0; i < takings_call_header_count(handle_.get()); ++i) {
            headers.emplace_back(detail::text(takings_call_header_name(handle_.get(), i)),
                                 detail::text(takings_call_header_value(handle_.get(), i)));
        }
        return headers;
    }
    std::string body() const {
        const char *body = takings_call_body(handle_.get());
        return body ? std::string(body, takings_call_body_length(handle_.get())) : std::string();
    }

    /* How many bytes of the answer's body are worth reading. */
    std::size_t most_answer() const noexcept { return takings_call_most_answer(handle_.get()); }

    /* Add a header, and a part of the body, of the answer, before answered. A header that came twice
     * is given twice; headers of a 1xx are left out. false: no more of the body is worth reading. */
    void answer_header(detail::report name, detail::report value) {
        std::string both[] = {std::string(name), std::string(value)};
        /* C would cut the text at a NUL, which no header may have. */
        for (std::string &text : both) {
            std::replace(text.begin(), text.end(), '\0', '\x01');
        }
        takings_call_answer_header(handle_.get(), both[0].c_str(), both[1].c_str());
    }
    bool answer_body(detail::report bytes) {
        return takings_call_answer_body(handle_.get(), bytes.data(), bytes.size());
    }

    /* Reports an answer whose head was complete, after its headers and its body. */
    takings_step_t answered(std::uint16_t status) noexcept { return takings_call_answered(handle_.get(), status); }

    /* Reports that no connection was made, so nothing of the request can have left. When in doubt:
     * maybe_sent. */
    takings_step_t not_sent(detail::report why) {
        return takings_call_not_sent(handle_.get(), std::string(why).c_str());
    }

    /* Reports that the request may have left, and no answer came. */
    takings_step_t maybe_sent(detail::report why) {
        return takings_call_maybe_sent(handle_.get(), std::string(why).c_str());
    }

    /* Reports that the pause is over. */
    takings_step_t waited() noexcept { return takings_call_waited(handle_.get()); }

    /* generated: results (scripts/generate.py, from the core's declarations) */
    /* The outcome of a call that gives an order. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::order order() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_document_of(handle_.get(), "Order", error);
        });
        return detail::read_document<takings::order>(ended.get());
    }

    /* The outcome of a call that gives a confirmation. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::confirmation confirmation() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_confirmation(handle_.get(), error);
        });
        return detail::read(ended.get());
    }

    /* The outcome of a call that gives a capture. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::capture capture() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_capture(handle_.get(), error);
        });
        return detail::read(ended.get());
    }

    /* The outcome of a call that gives a captures. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::captures captures() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_document_of(handle_.get(), "Captures", error);
        });
        return detail::read_document<takings::captures>(ended.get());
    }

    /* The outcome of a call that gives a capture details. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::capture_details capture_details() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_document_of(handle_.get(), "CaptureDetails", error);
        });
        return detail::read_document<takings::capture_details>(ended.get());
    }

    /* The outcome of a call that gives a due date options. Throws one of the classes of error;
     * before TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::due_date_options due_date_options() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_document_of(handle_.get(), "DueDateOptions", error);
        });
        return detail::read_document<takings::due_date_options>(ended.get());
    }

    /* The outcome of a call that gives a refund. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::refund refund() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_refund(handle_.get(), error);
        });
        return detail::read(ended.get());
    }

    /* The outcome of a call that gives a refund details. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::refund_details refund_details() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_document_of(handle_.get(), "RefundDetails", error);
        });
        return detail::read_document<takings::refund_details>(ended.get());
    }

    /* The outcome of a call that gives a reconciliation. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::reconciliation reconciliation() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_reconciliation(handle_.get(), error);
        });
        return detail::read(ended.get());
    }

    /* The outcome of a call that gives a refund reconciliation. Throws one of the classes of error;
     * before TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::refund_reconciliation refund_reconciliation() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_refund_reconciliation(handle_.get(), error);
        });
        return detail::read(ended.get());
    }

    /* The outcome of a call that gives an order end. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::order_end order_end() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_order_end(handle_.get(), error);
        });
        return detail::read(ended.get());
    }

    /* The outcome of a call that gives an extension. Throws one of the classes of error; before
     * TAKINGS_STEP_DONE it is outcome_unknown, for a caller that stops waiting. */
    takings::extension extension() const {
        const auto ended = detail::ask([&](takings_error_t **error) {
            return takings_call_extension(handle_.get(), error);
        });
        return detail::read(ended.get());
    }
    /* end of generated */

    /* The outcome of a call to any operation; an error is thrown. */
    takings::reply reply() const {
        return takings::reply(detail::ask([&](takings_error_t **error) {
            return takings_call_reply(handle_.get(), error);
        }));
    }

private:
    friend class client;

    explicit call(detail::handle<takings_call_t> handle) noexcept : handle_(std::move(handle)) {}

    detail::handle<takings_call_t> handle_;
};

/* Captures the orders of one merchant account. Make one and keep it: it reuses its connections.
 * Any number of threads may use it at the same time, and so may a forked process. It can be moved;
 * a moved-from client refuses every call with invalid_input. */
class client {
    template <typename Function>
    auto ask(Function function, const text &operation, const text &order_id, const text &arguments_json,
             const std::optional<text> &idempotency_key) const {
        return detail::ask([&](takings_error_t **error) {
            return function(handle_.get(), detail::c_string("operation", operation),
                            detail::c_string("order_id", order_id),
                            detail::c_string("arguments_json", arguments_json),
                            detail::c_string("idempotency_key", idempotency_key), error);
        });
    }

public:
    /* Throws invalid_input, naming the setting. */
    explicit client(const config &settings) : client(detail::json::of(settings)) {}

    /* The same with the settings as JSON text, as takings_client_new takes them. */
    explicit client(const text &config_json)
        : client(detail::ask([&](takings_error_t **error) {
              return takings_client_new(detail::c_string("config_json", config_json), error);
          })) {}

    /* From the environment variables that takings_client_from_env names; settings count before them. */
    static client from_env(const config &settings = {}) { return from_env(detail::json::of(settings)); }
    static client from_env(const text &config_json) {
        return client(detail::ask([&](takings_error_t **error) {
            return takings_client_from_env(detail::c_string("config_json", config_json), error);
        }));
    }

    /* generated: operations (scripts/generate.py, from the core's declarations) */
    /* The same client with other limits, for calls that have less time than others or more: it shares
     * connections, credentials and the memory of keys. An option that is absent is as in this client.
     * Throws invalid_input, naming the option. */
    client with_options(const options &changed) const {
        return with_options(detail::json::of(changed));
    }

    /* The same with the options as JSON text, as takings_client_with_options takes them. */
    client with_options(const text &options_json) const {
        return client(detail::ask([&](takings_error_t **error) {
            const char *given = detail::c_string("options_json", options_json);
            return takings_client_with_options(handle_.get(), given, error);
        }));
    }

    /* Reads the order: its state, amounts, lines, captures and refunds. It waits for the outcome, at
     * most for the timeout. Throws one of the classes of error. */
    takings::order get_order(const text &order_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_get_order(handle_.get(), detail::c_string("order_id", order_id), error);
        });
        return detail::read_document<takings::order>(asked.get());
    }

    /* The first half of get_order, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_get_order(const text &order_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_get_order(handle_.get(), detail::c_string("order_id", order_id),
                                                    error);
        });
        return takings::call(std::move(asked));
    }

    /* Confirms to Klarna that the shop knows the order. Klarna then stops calling the shop about it.
     * A capture does so too. Safe to repeat. It waits for the outcome, at most for the timeout. With
     * a key of your own (idempotency_key makes one) it can be called again after a crash: the money
     * moves once. Without one a fresh key is made; it comes back in the result and in the error.
     * Throws one of the classes of error. */
    takings::confirmation acknowledge(const text &order_id,
                                      const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_acknowledge(handle_.get(), detail::c_string("order_id", order_id),
                                              detail::c_string("idempotency_key", idempotency_key), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of acknowledge: everything that can be refused is refused here, and the key is
     * known before anything is sent. The call is the second half, for your program to send. Throws
     * invalid_input. */
    takings::call prepare_acknowledge(const text &order_id,
                                      const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_acknowledge(handle_.get(), detail::c_string("order_id", order_id),
                                                      detail::c_string("idempotency_key", idempotency_key),
                                                      error);
        });
        return takings::call(std::move(asked));
    }

    /* Changes the amount and the lines of an order that is authorized. The lines replace the old
     * ones. Safe to repeat. It waits for the outcome, at most for the timeout. With a key of your
     * own (idempotency_key makes one) it can be called again after a crash: the money moves once.
     * Without one a fresh key is made; it comes back in the result and in the error. Throws one of
     * the classes of error. */
    takings::confirmation update_authorization(const text &order_id,
                                               const authorization_request &request,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return update_authorization(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::confirmation update_authorization(const text &order_id, const text &request_json,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_update_authorization(handle_.get(), detail::c_string("order_id", order_id),
                                                       detail::c_string("request_json", request_json),
                                                       detail::c_string("idempotency_key", idempotency_key),
                                                       error);
        });
        return detail::read(asked.get());
    }

    /* The first half of update_authorization: everything that can be refused is refused here, and
     * the key is known before anything is sent. The call is the second half, for your program to
     * send. Throws invalid_input. */
    takings::call prepare_update_authorization(const text &order_id,
                                               const authorization_request &request,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_update_authorization(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare_update_authorization(const text &order_id, const text &request_json,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_update_authorization(handle_.get(),
                                                               detail::c_string("order_id", order_id),
                                                               detail::c_string("request_json", request_json),
                                                               detail::c_string("idempotency_key", idempotency_key),
                                                               error);
        });
        return takings::call(std::move(asked));
    }

    /* Cancels an order of which nothing was captured, for good. Safe to repeat. It waits for the
     * outcome, at most for the timeout. With a key of your own (idempotency_key makes one) it can be
     * called again after a crash: the money moves once. Without one a fresh key is made; it comes
     * back in the result and in the error. Throws one of the classes of error. */
    takings::confirmation cancel(const text &order_id,
                                 const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_cancel(handle_.get(), detail::c_string("order_id", order_id),
                                         detail::c_string("idempotency_key", idempotency_key), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of cancel: everything that can be refused is refused here, and the key is known
     * before anything is sent. The call is the second half, for your program to send. Throws
     * invalid_input. */
    takings::call prepare_cancel(const text &order_id,
                                 const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_cancel(handle_.get(), detail::c_string("order_id", order_id),
                                                 detail::c_string("idempotency_key", idempotency_key), error);
        });
        return takings::call(std::move(asked));
    }

    /* Captures the order, in full or in part: the money moves once, however often it is called with
     * one key. It waits for the outcome, at most for the timeout. With a key of your own
     * (idempotency_key makes one) it can be called again after a crash: the money moves once.
     * Without one a fresh key is made; it comes back in the result and in the error. Throws one of
     * the classes of error. */
    takings::capture capture(const text &order_id, const capture_request &request,
                             const std::optional<text> &idempotency_key = std::nullopt) const {
        return capture(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::capture capture(const text &order_id, const text &request_json,
                             const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_capture(handle_.get(), detail::c_string("order_id", order_id),
                                          detail::c_string("request_json", request_json),
                                          detail::c_string("idempotency_key", idempotency_key), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of capture: everything that can be refused is refused here, and the key is
     * known before anything is sent. The call is the second half, for your program to send. Throws
     * invalid_input. */
    takings::call prepare(const text &order_id, const capture_request &request,
                          const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare(const text &order_id, const text &request_json,
                          const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare(handle_.get(), detail::c_string("order_id", order_id),
                                          detail::c_string("request_json", request_json),
                                          detail::c_string("idempotency_key", idempotency_key), error);
        });
        return takings::call(std::move(asked));
    }

    /* Reads all captures of the order. It waits for the outcome, at most for the timeout. Throws one
     * of the classes of error. */
    takings::captures get_captures(const text &order_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_get_captures(handle_.get(), detail::c_string("order_id", order_id), error);
        });
        return detail::read_document<takings::captures>(asked.get());
    }

    /* The first half of get_captures, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_get_captures(const text &order_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_get_captures(handle_.get(), detail::c_string("order_id", order_id),
                                                       error);
        });
        return takings::call(std::move(asked));
    }

    /* Reads one capture of the order. It waits for the outcome, at most for the timeout. Throws one
     * of the classes of error. */
    takings::capture_details get_capture(const text &order_id, const text &capture_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_get_capture(handle_.get(), detail::c_string("order_id", order_id),
                                              detail::c_string("capture_id", capture_id), error);
        });
        return detail::read_document<takings::capture_details>(asked.get());
    }

    /* The first half of get_capture, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_get_capture(const text &order_id, const text &capture_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_get_capture(handle_.get(), detail::c_string("order_id", order_id),
                                                      detail::c_string("capture_id", capture_id), error);
        });
        return takings::call(std::move(asked));
    }

    /* Adds shipping info, such as a tracking number, to a capture. A repeat with another key adds it
     * twice. It waits for the outcome, at most for the timeout. With a key of your own
     * (idempotency_key makes one) it can be called again after a crash: the money moves once.
     * Without one a fresh key is made; it comes back in the result and in the error. Throws one of
     * the classes of error. */
    takings::confirmation append_shipping_info(const text &order_id,
                                               const capture_shipping_request &request,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return append_shipping_info(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the arguments of the request one by one. */
    takings::confirmation append_shipping_info(const text &order_id, const text &capture_id,
                                               const std::vector<takings::shipping_info> &shipping_info,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return append_shipping_info(order_id, capture_shipping_request(capture_id, shipping_info),
                                    idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::confirmation append_shipping_info(const text &order_id, const text &request_json,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_append_shipping_info(handle_.get(), detail::c_string("order_id", order_id),
                                                       detail::c_string("request_json", request_json),
                                                       detail::c_string("idempotency_key", idempotency_key),
                                                       error);
        });
        return detail::read(asked.get());
    }

    /* The first half of append_shipping_info: everything that can be refused is refused here, and
     * the key is known before anything is sent. The call is the second half, for your program to
     * send. Throws invalid_input. */
    takings::call prepare_append_shipping_info(const text &order_id,
                                               const capture_shipping_request &request,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_append_shipping_info(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the arguments of the request one by one. */
    takings::call prepare_append_shipping_info(const text &order_id, const text &capture_id,
                                               const std::vector<takings::shipping_info> &shipping_info,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_append_shipping_info(order_id,
                                            capture_shipping_request(capture_id, shipping_info),
                                            idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare_append_shipping_info(const text &order_id, const text &request_json,
                                               const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_append_shipping_info(handle_.get(),
                                                               detail::c_string("order_id", order_id),
                                                               detail::c_string("request_json", request_json),
                                                               detail::c_string("idempotency_key", idempotency_key),
                                                               error);
        });
        return takings::call(std::move(asked));
    }

    /* Has Klarna send the customer the invoice of a capture once more. A repeat with another key
     * sends a second mail. It waits for the outcome, at most for the timeout. With a key of your own
     * (idempotency_key makes one) it can be called again after a crash: the money moves once.
     * Without one a fresh key is made; it comes back in the result and in the error. Throws one of
     * the classes of error. */
    takings::confirmation trigger_send_out(const text &order_id, const text &capture_id,
                                           const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_trigger_send_out(handle_.get(), detail::c_string("order_id", order_id),
                                                   detail::c_string("capture_id", capture_id),
                                                   detail::c_string("idempotency_key", idempotency_key), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of trigger_send_out: everything that can be refused is refused here, and the
     * key is known before anything is sent. The call is the second half, for your program to send.
     * Throws invalid_input. */
    takings::call prepare_trigger_send_out(const text &order_id, const text &capture_id,
                                           const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_trigger_send_out(handle_.get(),
                                                           detail::c_string("order_id", order_id),
                                                           detail::c_string("capture_id", capture_id),
                                                           detail::c_string("idempotency_key", idempotency_key),
                                                           error);
        });
        return takings::call(std::move(asked));
    }

    /* Reads by how many days the due date of a capture can be extended, and each fee. It waits for
     * the outcome, at most for the timeout. Throws one of the classes of error. */
    takings::due_date_options get_extend_due_date_options(const text &order_id,
                                                          const text &capture_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_get_extend_due_date_options(handle_.get(),
                                                              detail::c_string("order_id", order_id),
                                                              detail::c_string("capture_id", capture_id),
                                                              error);
        });
        return detail::read_document<takings::due_date_options>(asked.get());
    }

    /* The first half of get_extend_due_date_options, as prepare is that of capture. Throws
     * invalid_input. */
    takings::call prepare_get_extend_due_date_options(const text &order_id,
                                                      const text &capture_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_get_extend_due_date_options(handle_.get(),
                                                                      detail::c_string("order_id", order_id),
                                                                      detail::c_string("capture_id", capture_id),
                                                                      error);
        });
        return takings::call(std::move(asked));
    }

    /* Extends the due date of a capture, for a fee. A repeat with another key costs a second fee. It
     * waits for the outcome, at most for the timeout. With a key of your own (idempotency_key makes
     * one) it can be called again after a crash: the money moves once. Without one a fresh key is
     * made; it comes back in the result and in the error. Throws one of the classes of error. */
    takings::confirmation extend_due_date(const text &order_id, const text &capture_id,
                                          whole number_of_days,
                                          const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_extend_due_date(handle_.get(), detail::c_string("order_id", order_id),
                                                  detail::c_string("capture_id", capture_id),
                                                  number_of_days.value(),
                                                  detail::c_string("idempotency_key", idempotency_key), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of extend_due_date: everything that can be refused is refused here, and the key
     * is known before anything is sent. The call is the second half, for your program to send.
     * Throws invalid_input. */
    takings::call prepare_extend_due_date(const text &order_id, const text &capture_id,
                                          whole number_of_days,
                                          const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_extend_due_date(handle_.get(),
                                                          detail::c_string("order_id", order_id),
                                                          detail::c_string("capture_id", capture_id),
                                                          number_of_days.value(),
                                                          detail::c_string("idempotency_key", idempotency_key),
                                                          error);
        });
        return takings::call(std::move(asked));
    }

    /* Changes the customer's shipping address. Klarna checks the customer's credit anew. Safe to
     * repeat. It waits for the outcome, at most for the timeout. With a key of your own
     * (idempotency_key makes one) it can be called again after a crash: the money moves once.
     * Without one a fresh key is made; it comes back in the result and in the error. Throws one of
     * the classes of error. */
    takings::confirmation update_customer_details(const text &order_id,
                                                  const customer_details_request &request,
                                                  const std::optional<text> &idempotency_key = std::nullopt) const {
        return update_customer_details(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::confirmation update_customer_details(const text &order_id, const text &request_json,
                                                  const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_update_customer_details(handle_.get(),
                                                          detail::c_string("order_id", order_id),
                                                          detail::c_string("request_json", request_json),
                                                          detail::c_string("idempotency_key", idempotency_key),
                                                          error);
        });
        return detail::read(asked.get());
    }

    /* The first half of update_customer_details: everything that can be refused is refused here, and
     * the key is known before anything is sent. The call is the second half, for your program to
     * send. Throws invalid_input. */
    takings::call prepare_update_customer_details(const text &order_id,
                                                  const customer_details_request &request,
                                                  const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_update_customer_details(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare_update_customer_details(const text &order_id, const text &request_json,
                                                  const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_update_customer_details(handle_.get(),
                                                                  detail::c_string("order_id", order_id),
                                                                  detail::c_string("request_json", request_json),
                                                                  detail::c_string("idempotency_key", idempotency_key),
                                                                  error);
        });
        return takings::call(std::move(asked));
    }

    /* Extends the time in which the order can be captured. A second call on one day changes nothing.
     * It waits for the outcome, at most for the timeout. With a key of your own (idempotency_key
     * makes one) it can be called again after a crash: the money moves once. Without one a fresh key
     * is made; it comes back in the result and in the error. Throws one of the classes of error. */
    takings::confirmation extend_authorization_time(const text &order_id,
                                                    const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_extend_authorization_time(handle_.get(),
                                                            detail::c_string("order_id", order_id),
                                                            detail::c_string("idempotency_key", idempotency_key),
                                                            error);
        });
        return detail::read(asked.get());
    }

    /* The first half of extend_authorization_time: everything that can be refused is refused here,
     * and the key is known before anything is sent. The call is the second half, for your program to
     * send. Throws invalid_input. */
    takings::call prepare_extend_authorization_time(const text &order_id,
                                                    const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_extend_authorization_time(handle_.get(),
                                                                    detail::c_string("order_id", order_id),
                                                                    detail::c_string("idempotency_key", idempotency_key),
                                                                    error);
        });
        return takings::call(std::move(asked));
    }

    /* Changes the shop's own references of the order. Safe to repeat. It waits for the outcome, at
     * most for the timeout. With a key of your own (idempotency_key makes one) it can be called
     * again after a crash: the money moves once. Without one a fresh key is made; it comes back in
     * the result and in the error. Throws one of the classes of error. */
    takings::confirmation update_merchant_references(const text &order_id,
                                                     const merchant_references_request &request,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        return update_merchant_references(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::confirmation update_merchant_references(const text &order_id, const text &request_json,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_update_merchant_references(handle_.get(),
                                                             detail::c_string("order_id", order_id),
                                                             detail::c_string("request_json", request_json),
                                                             detail::c_string("idempotency_key", idempotency_key),
                                                             error);
        });
        return detail::read(asked.get());
    }

    /* The first half of update_merchant_references: everything that can be refused is refused here,
     * and the key is known before anything is sent. The call is the second half, for your program to
     * send. Throws invalid_input. */
    takings::call prepare_update_merchant_references(const text &order_id,
                                                     const merchant_references_request &request,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_update_merchant_references(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare_update_merchant_references(const text &order_id, const text &request_json,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_update_merchant_references(handle_.get(),
                                                                     detail::c_string("order_id", order_id),
                                                                     detail::c_string("request_json", request_json),
                                                                     detail::c_string("idempotency_key", idempotency_key),
                                                                     error);
        });
        return takings::call(std::move(asked));
    }

    /* Gives the customer back what was captured, in full or in part: the money moves once, however
     * often it is called with one key. It waits for the outcome, at most for the timeout. With a key
     * of your own (idempotency_key makes one) it can be called again after a crash: the money moves
     * once. Without one a fresh key is made; it comes back in the result and in the error. Throws
     * one of the classes of error. */
    takings::refund refund(const text &order_id, const refund_request &request,
                           const std::optional<text> &idempotency_key = std::nullopt) const {
        return refund(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::refund refund(const text &order_id, const text &request_json,
                           const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_refund(handle_.get(), detail::c_string("order_id", order_id),
                                         detail::c_string("request_json", request_json),
                                         detail::c_string("idempotency_key", idempotency_key), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of refund: everything that can be refused is refused here, and the key is known
     * before anything is sent. The call is the second half, for your program to send. Throws
     * invalid_input. */
    takings::call prepare_refund(const text &order_id, const refund_request &request,
                                 const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_refund(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare_refund(const text &order_id, const text &request_json,
                                 const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_refund(handle_.get(), detail::c_string("order_id", order_id),
                                                 detail::c_string("request_json", request_json),
                                                 detail::c_string("idempotency_key", idempotency_key), error);
        });
        return takings::call(std::move(asked));
    }

    /* Reads one refund of the order. It waits for the outcome, at most for the timeout. Throws one
     * of the classes of error. */
    takings::refund_details get_refund(const text &order_id, const text &refund_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_get_refund(handle_.get(), detail::c_string("order_id", order_id),
                                             detail::c_string("refund_id", refund_id), error);
        });
        return detail::read_document<takings::refund_details>(asked.get());
    }

    /* The first half of get_refund, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_get_refund(const text &order_id, const text &refund_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_get_refund(handle_.get(), detail::c_string("order_id", order_id),
                                                     detail::c_string("refund_id", refund_id), error);
        });
        return takings::call(std::move(asked));
    }

    /* Releases what is still reserved on an order of which a part was captured. The rest can never
     * be captured then. Safe to repeat. It waits for the outcome, at most for the timeout. With a
     * key of your own (idempotency_key makes one) it can be called again after a crash: the money
     * moves once. Without one a fresh key is made; it comes back in the result and in the error.
     * Throws one of the classes of error. */
    takings::confirmation release_remaining_authorization(const text &order_id,
                                                          const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_release_remaining_authorization(handle_.get(),
                                                                  detail::c_string("order_id", order_id),
                                                                  detail::c_string("idempotency_key", idempotency_key),
                                                                  error);
        });
        return detail::read(asked.get());
    }

    /* The first half of release_remaining_authorization: everything that can be refused is refused
     * here, and the key is known before anything is sent. The call is the second half, for your
     * program to send. Throws invalid_input. */
    takings::call prepare_release_remaining_authorization(const text &order_id,
                                                          const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_release_remaining_authorization(handle_.get(),
                                                                          detail::c_string("order_id", order_id),
                                                                          detail::c_string("idempotency_key", idempotency_key),
                                                                          error);
        });
        return takings::call(std::move(asked));
    }

    /* Adds shipping info, such as a tracking number, to the order. A repeat with another key adds it
     * twice. It waits for the outcome, at most for the timeout. With a key of your own
     * (idempotency_key makes one) it can be called again after a crash: the money moves once.
     * Without one a fresh key is made; it comes back in the result and in the error. Throws one of
     * the classes of error. */
    takings::confirmation append_order_shipping_info(const text &order_id,
                                                     const order_shipping_request &request,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        return append_order_shipping_info(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::confirmation append_order_shipping_info(const text &order_id, const text &request_json,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_append_order_shipping_info(handle_.get(),
                                                             detail::c_string("order_id", order_id),
                                                             detail::c_string("request_json", request_json),
                                                             detail::c_string("idempotency_key", idempotency_key),
                                                             error);
        });
        return detail::read(asked.get());
    }

    /* The first half of append_order_shipping_info: everything that can be refused is refused here,
     * and the key is known before anything is sent. The call is the second half, for your program to
     * send. Throws invalid_input. */
    takings::call prepare_append_order_shipping_info(const text &order_id,
                                                     const order_shipping_request &request,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        return prepare_append_order_shipping_info(order_id, detail::json::of(request), idempotency_key);
    }

    /* The same with the request as JSON text. */
    takings::call prepare_append_order_shipping_info(const text &order_id, const text &request_json,
                                                     const std::optional<text> &idempotency_key = std::nullopt) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_append_order_shipping_info(handle_.get(),
                                                                     detail::c_string("order_id", order_id),
                                                                     detail::c_string("request_json", request_json),
                                                                     detail::c_string("idempotency_key", idempotency_key),
                                                                     error);
        });
        return takings::call(std::move(asked));
    }

    /* Reads the order's captures and searches for the one with this reference and amount. Sound only
     * when each capture of an order has a reference of its own. It waits for the outcome, at most
     * for the timeout. Throws one of the classes of error. */
    takings::reconciliation reconcile(const text &order_id, const text &reference,
                                      amount captured_amount) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_reconcile(handle_.get(), detail::c_string("order_id", order_id),
                                            detail::c_string("reference", reference), captured_amount.value(),
                                            error);
        });
        return detail::read(asked.get());
    }

    /* The first half of reconcile, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_reconcile(const text &order_id, const text &reference,
                                    amount captured_amount) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_reconcile(handle_.get(), detail::c_string("order_id", order_id),
                                                    detail::c_string("reference", reference),
                                                    captured_amount.value(), error);
        });
        return takings::call(std::move(asked));
    }

    /* Reads the order's refunds and searches for the one with this reference and amount. Sound only
     * when each refund of an order has a reference of its own. It waits for the outcome, at most for
     * the timeout. Throws one of the classes of error. */
    takings::refund_reconciliation reconcile_refund(const text &order_id, const text &reference,
                                                    amount refunded_amount) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_reconcile_refund(handle_.get(), detail::c_string("order_id", order_id),
                                                   detail::c_string("reference", reference),
                                                   refunded_amount.value(), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of reconcile_refund, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_reconcile_refund(const text &order_id, const text &reference,
                                           amount refunded_amount) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_reconcile_refund(handle_.get(),
                                                           detail::c_string("order_id", order_id),
                                                           detail::c_string("reference", reference),
                                                           refunded_amount.value(), error);
        });
        return takings::call(std::move(asked));
    }

    /* Captures everything that is left of the order. The key of the capture is derived from the
     * order, what is left and reference, so a repeat captures nothing more. Give each such capture
     * of an order a reference of its own: it is found again by that. It waits for the outcome, at
     * most for the timeout. Throws one of the classes of error. */
    takings::capture capture_remaining(const text &order_id, const text &reference) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_capture_remaining(handle_.get(), detail::c_string("order_id", order_id),
                                                    detail::c_string("reference", reference), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of capture_remaining, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_capture_remaining(const text &order_id, const text &reference) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_capture_remaining(handle_.get(),
                                                            detail::c_string("order_id", order_id),
                                                            detail::c_string("reference", reference), error);
        });
        return takings::call(std::move(asked));
    }

    /* Refunds everything that was captured and not refunded yet. The key of the refund is derived
     * from the order, what is left and reference, so a repeat refunds nothing more. Give each refund
     * of an order a reference of its own. It waits for the outcome, at most for the timeout. Throws
     * one of the classes of error. */
    takings::refund refund_remaining(const text &order_id, const text &reference) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_refund_remaining(handle_.get(), detail::c_string("order_id", order_id),
                                                   detail::c_string("reference", reference), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of refund_remaining, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_refund_remaining(const text &order_id, const text &reference) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_refund_remaining(handle_.get(),
                                                           detail::c_string("order_id", order_id),
                                                           detail::c_string("reference", reference), error);
        });
        return takings::call(std::move(asked));
    }

    /* Refunds of one capture: an amount, or what is left of it. Without lines of yours the capture's
     * lines are sent where they add up, and Klarna then assigns the refund to this capture. More
     * than is left of the capture is refused. The key is derived from order, capture, amount and
     * reference. Give each refund of an order a reference of its own. It waits for the outcome, at
     * most for the timeout. Throws one of the classes of error. */
    takings::refund refund_capture(const text &order_id, const refund_capture_request &request) const {
        return refund_capture(order_id, detail::json::of(request));
    }

    /* The same with the request as JSON text. */
    takings::refund refund_capture(const text &order_id, const text &request_json) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_refund_capture(handle_.get(), detail::c_string("order_id", order_id),
                                                 detail::c_string("request_json", request_json), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of refund_capture, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_refund_capture(const text &order_id,
                                         const refund_capture_request &request) const {
        return prepare_refund_capture(order_id, detail::json::of(request));
    }

    /* The same with the request as JSON text. */
    takings::call prepare_refund_capture(const text &order_id, const text &request_json) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_refund_capture(handle_.get(), detail::c_string("order_id", order_id),
                                                         detail::c_string("request_json", request_json), error);
        });
        return takings::call(std::move(asked));
    }

    /* Ends an order of which no more is shipped: cancels it where nothing was captured, and releases
     * the rest where a part was. It refunds nothing. Safe to repeat. It waits for the outcome, at
     * most for the timeout. Throws one of the classes of error. */
    takings::order_end cancel_or_release(const text &order_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_cancel_or_release(handle_.get(), detail::c_string("order_id", order_id),
                                                    error);
        });
        return detail::read(asked.get());
    }

    /* The first half of cancel_or_release, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_cancel_or_release(const text &order_id) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_cancel_or_release(handle_.get(),
                                                            detail::c_string("order_id", order_id), error);
        });
        return takings::call(std::move(asked));
    }

    /* Extends the time in which the order can be captured, if it ends within so many seconds by
     * Klarna's clock. Safe to repeat. It waits for the outcome, at most for the timeout. Throws one
     * of the classes of error. */
    takings::extension extend_if_needed(const text &order_id, whole within) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_extend_if_needed(handle_.get(), detail::c_string("order_id", order_id),
                                                   within.value(), error);
        });
        return detail::read(asked.get());
    }

    /* The first half of extend_if_needed, as prepare is that of capture. Throws invalid_input. */
    takings::call prepare_extend_if_needed(const text &order_id, whole within) const {
        auto asked = detail::ask([&](takings_error_t **error) {
            return takings_client_prepare_extend_if_needed(handle_.get(),
                                                           detail::c_string("order_id", order_id),
                                                           within.value(), error);
        });
        return takings::call(std::move(asked));
    }
    /* end of generated */

    /* Calls any operation by its name, such as "capture", with its arguments as JSON text, and waits for
     * the outcome. An operation that changes nothing takes no key. Throws one of the classes of error. */
    takings::reply call(const text &operation, const text &order_id, const text &arguments_json,
                        const std::optional<text> &idempotency_key = std::nullopt) const {
        return takings::reply(ask(takings_client_call, operation, order_id, arguments_json, idempotency_key));
    }

    /* The first half of call, as prepare is that of capture. */
    takings::call prepare_call(const text &operation, const text &order_id, const text &arguments_json,
                               const std::optional<text> &idempotency_key = std::nullopt) const {
        return takings::call(ask(takings_client_prepare_call, operation, order_id, arguments_json, idempotency_key));
    }

    /* Where requests go, without credentials. */
    std::string base_url() const { return detail::text(takings_client_base_url(handle_.get())); }

private:
    explicit client(detail::handle<takings_client_t> handle) noexcept : handle_(std::move(handle)) {}

    detail::handle<takings_client_t> handle_;
};

/* Derives the idempotency key of the call named name of an order, a capture where no other operation
 * is given: the same texts give the same key after a crash, on any host. Two parcels need two names.
 * An operation on a capture, such as "append_shipping_info", takes Klarna's id of the capture.
 * Throws invalid_input. */
inline std::string idempotency_key(const text &order_id, const text &name, const text &operation = "capture",
                                   const std::optional<text> &capture_id = std::nullopt) {
    const auto key = detail::ask([&](takings_error_t **error) {
        return takings_idempotency_key_for(detail::c_string("operation", operation),
                                           detail::c_string("order_id", order_id),
                                           detail::c_string("capture_id", capture_id),
                                           detail::c_string("name", name), error);
    });
    return key.get();
}

/* A fresh random key, for a program that stores it before the call. */
inline std::string new_idempotency_key() { return detail::ask(takings_new_idempotency_key).get(); }

/* generated: offline (scripts/generate.py, from the core's declarations) */
inline std::vector<std::string> order::check_capture(const capture_request &request) const {
    return check_capture(detail::json::of(request));
}

inline std::vector<std::string> order::check_capture(const text &request_json) const {
    const auto check = detail::ask([&](takings_error_t **error) {
        return takings_check_capture(detail::c_string("order_json", raw), detail::milliseconds(answered_at),
                            detail::c_string("request_json", request_json), error);
    });
    return detail::texts(check.get(), takings_check_reason_count, takings_check_reason);
}

inline intent intent::capture(const text &order_id, const capture_request &request) {
    return from_json("capture", order_id, detail::json::of(request));
}

inline std::vector<std::string> order::check_refund(const refund_request &request) const {
    return check_refund(detail::json::of(request));
}

inline std::vector<std::string> order::check_refund(const text &request_json) const {
    const auto check = detail::ask([&](takings_error_t **error) {
        return takings_check_refund(detail::c_string("order_json", raw), detail::milliseconds(answered_at),
                            detail::c_string("request_json", request_json), error);
    });
    return detail::texts(check.get(), takings_check_reason_count, takings_check_reason);
}

inline intent intent::refund(const text &order_id, const refund_request &request) {
    return from_json("refund", order_id, detail::json::of(request));
}

inline intent intent::from_json(const text &operation, const text &order_id,
                                const text &request_json) {
    const auto made = detail::ask([&](takings_error_t **error) {
        return takings_intent_new(detail::c_string("operation", operation),
                                  detail::c_string("order_id", order_id),
                                  detail::c_string("request_json", request_json), error);
    });
    return detail::read(made.get());
}

inline std::string intent::insert(const text &style) const {
    const auto sql = detail::ask([&](takings_error_t **error) {
        return takings_intent_insert(detail::c_string("operation", operation),
                                     detail::c_string("style", style), error);
    });
    return sql.get();
}
/* end of generated */

/* An amount in minor units, exactly or not at all: minor("60.00", "EUR") is 6000. The text is a decimal
 * number with a point, the currency a code of ISO 4217, whose number of decimals counts. Throws
 * invalid_input. */
inline amount minor(const text &amount_text, const text &currency) {
    takings_error_t *error = nullptr;
    std::int64_t minor = 0;
    if (!takings_minor(detail::c_string("amount", amount_text), detail::c_string("currency", currency), &minor, &error)) {
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
