/*
 * Lets the suite call takings from C++. The lines are those of adapter.c. A request or a
 * configuration goes through the typed structs where they can express it, and as JSON text where
 * they cannot (an unknown or doubled member, a fraction, null, a value of another type).
 */
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "takings.hpp"

namespace {

struct inexpressible {};

/* JSON as far as the structs can express it; everything else is inexpressible. */
struct value {
    enum { text, integer, boolean, list, object } kind = text;
    std::string string;
    std::int64_t number = 0;
    std::vector<value> items;
    std::map<std::string, value> members;
};

class reader {
public:
    explicit reader(const std::string &text) : next_(text.data()), end_(text.data() + text.size()) {}

    value whole_text() {
        value result = read(0);
        if (skip() != '\0' || next_ != end_) {
            throw inexpressible();
        }
        return result;
    }

private:
    char peek() const { return next_ < end_ ? *next_ : '\0'; }

    char skip() {
        while (next_ < end_ && (*next_ == ' ' || *next_ == '\t' || *next_ == '\n' || *next_ == '\r')) {
            ++next_;
        }
        return peek();
    }

    bool accept(char c) {
        if (skip() != c) {
            return false;
        }
        ++next_;
        return true;
    }

    void expect(const char *word) {
        for (; *word; ++word) {
            if (peek() != *word) {
                throw inexpressible();
            }
            ++next_;
        }
    }

    value read(int depth) {
        value result;
        const char first = skip();
        if (depth > 8) {
            throw inexpressible();
        } else if (first == '"') {
            result.string = string();
        } else if (first == '-' || std::isdigit(static_cast<unsigned char>(first))) {
            result.kind = value::integer;
            result.number = integer();
        } else if (first == 't' || first == 'f') {
            result.kind = value::boolean;
            result.number = first == 't';
            expect(first == 't' ? "true" : "false");
        } else if (accept('[')) {
            result.kind = value::list;
            while (!accept(']')) {
                if (!result.items.empty()) {
                    expect(",");
                }
                result.items.push_back(read(depth + 1));
            }
        } else if (accept('{')) {
            result.kind = value::object;
            while (!accept('}')) {
                if (!result.members.empty()) {
                    expect(",");
                }
                skip();
                std::string name = string();
                skip();
                expect(":");
                if (!result.members.emplace(std::move(name), read(depth + 1)).second) {
                    throw inexpressible();
                }
            }
        } else {
            throw inexpressible();
        }
        return result;
    }

    std::int64_t integer() {
        std::string digits;
        while (std::isdigit(static_cast<unsigned char>(peek())) || (digits.empty() && peek() == '-')) {
            digits += *next_++;
        }
        const std::string plain = digits[0] == '-' ? digits.substr(1) : digits;
        const bool canonical = !plain.empty() && (plain[0] != '0' || digits == "0");
        errno = 0;
        const long long number = std::strtoll(digits.c_str(), nullptr, 10);
        if (!canonical || errno != 0 || peek() == '.' || peek() == 'e' || peek() == 'E') {
            throw inexpressible();
        }
        return number;
    }

    std::string string() {
        std::string result;
        expect("\"");
        while (peek() != '"') {
            if (next_ == end_ || static_cast<unsigned char>(*next_) < 0x20) {
                throw inexpressible();
            }
            const char c = *next_++;
            if (c != '\\') {
                result += c;
                continue;
            }
            const char escaped = peek();
            static const std::map<char, char> plain = {{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'b', '\b'},
                                                       {'f', '\f'}, {'n', '\n'}, {'r', '\r'}, {'t', '\t'}};
            const auto found = plain.find(escaped);
            if (found != plain.end()) {
                ++next_;
                result += found->second;
            } else {
                append_utf8(result, code_point());
            }
        }
        ++next_;
        return result;
    }

    unsigned long code_point() {
        const unsigned long high = unit();
        if (high < 0xD800 || high > 0xDFFF) {
            return high;
        }
        expect("\\");
        const unsigned long low = unit();
        if (high > 0xDBFF || low < 0xDC00 || low > 0xDFFF) {
            throw inexpressible();
        }
        return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }

    unsigned long unit() {
        expect("u");
        std::string digits;
        while (digits.size() < 4 && std::isxdigit(static_cast<unsigned char>(peek()))) {
            digits += *next_++;
        }
        if (digits.size() < 4) {
            throw inexpressible();
        }
        return std::strtoul(digits.c_str(), nullptr, 16);
    }

    static void append_utf8(std::string &out, unsigned long c) {
        if (c < 0x80) {
            out += static_cast<char>(c);
        } else if (c < 0x800) {
            out += static_cast<char>(0xC0 | c >> 6);
            out += static_cast<char>(0x80 | (c & 0x3F));
        } else if (c < 0x10000) {
            out += static_cast<char>(0xE0 | c >> 12);
            out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
            out += static_cast<char>(0x80 | (c & 0x3F));
        } else {
            out += static_cast<char>(0xF0 | c >> 18);
            out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
            out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
            out += static_cast<char>(0x80 | (c & 0x3F));
        }
    }

    const char *next_;
    const char *end_;
};

void expect_kind(const value &from, int kind) {
    if (from.kind != kind) {
        throw inexpressible();
    }
}

/* The members of an object, each taken once; what is left over is inexpressible. */
class members {
public:
    explicit members(const value &object) : left_(object.members) { expect_kind(object, value::object); }

    template <typename T>
    T required(const char *name) {
        const auto found = left_.find(name);
        if (found == left_.end()) {
            throw inexpressible();
        }
        T result = convert(found->second, static_cast<T *>(nullptr));
        left_.erase(found);
        return result;
    }

    template <typename T>
    void optional(const char *name, std::optional<T> &out) {
        if (left_.count(name)) {
            out = required<T>(name);
        }
    }

    void end() const {
        if (!left_.empty()) {
            throw inexpressible();
        }
    }

private:
    static std::string convert(const value &from, std::string *) {
        expect_kind(from, value::text);
        return from.string;
    }

    static takings::whole convert(const value &from, takings::whole *) {
        expect_kind(from, value::integer);
        return from.number;
    }

    static std::chrono::milliseconds convert(const value &from, std::chrono::milliseconds *) {
        expect_kind(from, value::integer);
        return std::chrono::milliseconds(from.number);
    }

    static takings::flag convert(const value &from, takings::flag *) {
        expect_kind(from, value::boolean);
        return from.number != 0;
    }

    template <typename T>
    static std::vector<T> convert(const value &from, std::vector<T> *) {
        expect_kind(from, value::list);
        std::vector<T> result;
        for (const value &item : from.items) {
            result.push_back(convert(item, static_cast<T *>(nullptr)));
        }
        return result;
    }

    static takings::product_identifiers convert(const value &from, takings::product_identifiers *) {
        members in(from);
        takings::product_identifiers result;
        in.optional("brand", result.brand);
        in.optional("category_path", result.category_path);
        in.optional("global_trade_item_number", result.global_trade_item_number);
        in.optional("manufacturer_part_number", result.manufacturer_part_number);
        in.optional("color", result.color);
        in.optional("size", result.size);
        in.end();
        return result;
    }

    static takings::subscription convert(const value &from, takings::subscription *) {
        members in(from);
        takings::subscription result(in.required<std::string>("name"), in.required<std::string>("interval"),
                                     in.required<takings::whole>("interval_count"));
        in.end();
        return result;
    }

    static takings::shipping_info convert(const value &from, takings::shipping_info *) {
        members in(from);
        takings::shipping_info result;
        in.optional("shipping_company", result.shipping_company);
        in.optional("shipping_method", result.shipping_method);
        in.optional("tracking_number", result.tracking_number);
        in.optional("tracking_uri", result.tracking_uri);
        in.optional("return_shipping_company", result.return_shipping_company);
        in.optional("return_tracking_number", result.return_tracking_number);
        in.optional("return_tracking_uri", result.return_tracking_uri);
        in.end();
        return result;
    }

    static takings::order_line convert(const value &from, takings::order_line *) {
        members in(from);
        takings::order_line result(in.required<std::string>("name"), in.required<takings::whole>("quantity"),
                                   in.required<takings::amount>("unit_price"),
                                   in.required<takings::amount>("total_amount"));
        in.optional("type", result.type);
        in.optional("reference", result.reference);
        in.optional("quantity_unit", result.quantity_unit);
        in.optional("tax_rate", result.tax_rate);
        in.optional("total_discount_amount", result.total_discount_amount);
        in.optional("total_tax_amount", result.total_tax_amount);
        in.optional("merchant_data", result.merchant_data);
        in.optional("product_url", result.product_url);
        in.optional("image_url", result.image_url);
        in.optional("product_identifiers", result.product_identifiers);
        in.optional("subscription", result.subscription);
        in.end();
        return result;
    }

    std::map<std::string, value> left_;
};

takings::capture_request typed_request(const std::string &json) {
    members in(reader(json).whole_text());
    takings::capture_request result(in.required<takings::amount>("captured_amount"));
    in.optional("reference", result.reference);
    in.optional("description", result.description);
    in.optional("order_lines", result.order_lines);
    in.optional("shipping_info", result.shipping_info);
    in.optional("shipping_delay", result.shipping_delay);
    in.end();
    return result;
}

takings::config typed_config(const std::string &json) {
    members in(reader(json).whole_text());
    takings::config result;
    in.optional("region", result.region);
    in.optional("environment", result.environment);
    in.optional("base_url", result.base_url);
    in.optional("username", result.username);
    in.optional("password", result.password);
    in.optional("api_key", result.api_key);
    in.optional("auth", result.auth);
    in.optional("connect_timeout_ms", result.connect_timeout);
    in.optional("attempt_timeout_ms", result.attempt_timeout);
    in.optional("timeout_ms", result.timeout);
    in.optional("max_attempts", result.max_attempts);
    in.optional("backoff_ms", result.backoff);
    in.optional("max_backoff_ms", result.max_backoff);
    in.optional("proxy", result.proxy);
    in.optional("ca_file", result.ca_file);
    in.optional("user_agent_suffix", result.user_agent_suffix);
    in.optional("check_lines", result.check_lines);
    in.optional("accept_unknown_values", result.accept_unknown_values);
    in.optional("reconcile", result.reconcile);
    in.end();
    return result;
}

takings::client make_client(const std::string &json) {
    std::optional<takings::config> config;
    try {
        config = typed_config(json);
    } catch (const inexpressible &) {
        return takings::client(json);
    }
    return takings::client(*config);
}

takings::capture capture(const takings::client &client, const std::string &order_id, const std::string &json,
                         const std::optional<std::string> &key) {
    std::optional<takings::capture_request> request;
    try {
        request = typed_request(json);
    } catch (const inexpressible &) {
        return client.capture(order_id, json, key);
    }
    return client.capture(order_id, *request, key);
}

std::string quoted(const std::string &text) {
    static const char digits[] = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += std::string("\\u00") + digits[c >> 4] + digits[c & 15];
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string quoted(const std::optional<std::string> &text) { return text ? quoted(*text) : "null"; }

std::string quoted(const std::vector<std::string> &texts) {
    std::string out;
    for (const std::string &text : texts) {
        out += (out.empty() ? "" : ",") + quoted(text);
    }
    return '[' + out + ']';
}

std::string outcome(const takings::reconciliation &found) {
    static const char *const names[] = {"nothing", "once", "never", "several"};
    return "{\"reconciliation\":{\"found\":" + quoted(std::string(names[found.found])) +
           ",\"capture_id\":" + quoted(found.capture_id()) + ",\"capture_ids\":" + quoted(found.capture_ids) +
           ",\"order_id\":" + quoted(found.order_id) + ",\"correlation_id\":" + quoted(found.correlation_id) +
           ",\"attempts\":" + std::to_string(found.attempts) + "}}";
}

std::string outcome(const takings::capture &capture) {
    return "{\"capture\":{\"capture_id\":" + quoted(capture.capture_id) + ",\"order_id\":" + quoted(capture.order_id) +
           ",\"idempotency_key\":" + quoted(capture.idempotency_key) +
           ",\"correlation_id\":" + quoted(capture.correlation_id) +
           ",\"attempts\":" + std::to_string(capture.attempts) + ",\"warnings\":" + quoted(capture.warnings) + "}}";
}

/* The kind as the class of the exception tells it: that is what a C++ program goes by. */
std::string kind_of(const takings::error &error) {
    return dynamic_cast<const takings::invalid_input *>(&error)     ? "invalid_input"
           : dynamic_cast<const takings::not_sent *>(&error)        ? "not_sent"
           : dynamic_cast<const takings::rejected *>(&error)        ? "rejected"
           : dynamic_cast<const takings::outcome_unknown *>(&error) ? "outcome_unknown"
           : dynamic_cast<const takings::internal_error *>(&error)  ? "internal"
                                                                    : "none";
}

std::string outcome(const takings::error &error) {
    return "{\"error\":{\"kind\":" + quoted(kind_of(error)) + ",\"message\":" + quoted(std::string(error.what())) +
           ",\"http_status\":" + (error.http_status() ? std::to_string(*error.http_status()) : "null") +
           ",\"error_code\":" + quoted(error.error_code()) + ",\"error_messages\":" + quoted(error.error_messages()) +
           ",\"correlation_id\":" + quoted(error.correlation_id()) + ",\"order_id\":" + quoted(error.order_id()) +
           ",\"idempotency_key\":" + quoted(error.idempotency_key()) +
           ",\"attempts\":" + std::to_string(error.attempts()) +
           ",\"retryable\":" + (error.retryable() ? "true" : "false") + "}}";
}

/* The fields of a line, their percent-encoding undone. */
std::vector<std::string> cut(const std::string &line) {
    std::vector<std::string> fields(1);
    for (std::size_t i = 0; i < line.size(); ++i) {
        const auto is_hex = [&](std::size_t at) {
            return at < line.size() && std::isxdigit(static_cast<unsigned char>(line[at]));
        };
        if (line[i] == '\t') {
            fields.emplace_back();
        } else if (line[i] == '%' && is_hex(i + 1) && is_hex(i + 2)) {
            fields.back() += static_cast<char>(std::stoi(line.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else if (line[i] != '\r') {
            fields.back() += line[i];
        }
    }
    return fields;
}

} // namespace

int main() {
    std::optional<takings::client> client;
    std::string line;
    while (std::getline(std::cin, line)) {
        const std::vector<std::string> field = cut(line);
        try {
            if (field[0] == "capture" && field.size() == 6) {
                if (!field[1].empty()) {
                    client.reset();
                    client = make_client(field[1]);
                }
                if (!client) {
                    std::cerr << "adapter.cpp: the first call of a client needs its configuration\n";
                    return 2;
                }
                const std::optional<std::string> key =
                    field[4] == "1" ? std::optional<std::string>(field[5]) : std::nullopt;
                std::cout << outcome(capture(*client, field[2], field[3], key)) << std::endl;
            } else if (field[0] == "reconcile" && field.size() == 5) {
                if (!field[1].empty()) {
                    client.reset();
                    client = make_client(field[1]);
                }
                std::cout << outcome(client.value().reconcile(field[2], field[3], std::stoll(field[4]))) << std::endl;
            } else if (field[0] == "derive" && field.size() == 3) {
                const std::string key = takings::idempotency_key(field[1], field[2]);
                std::cout << "{\"key\":" << quoted(key) << "}" << std::endl;
            } else if (field[0] == "quit" && field.size() == 1) {
                break;
            } else {
                std::cerr << "adapter.cpp: a line of " << field.size() << " fields that begins with \"" << field[0]
                          << "\" is no call\n";
                return 2;
            }
        } catch (const takings::error &error) {
            std::cout << outcome(error) << std::endl;
        }
    }
    return 0;
}
