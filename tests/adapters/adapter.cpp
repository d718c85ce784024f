/*
 * Lets the suite call takings from C++. The lines are those of adapter.c. A request or a
 * configuration goes through the typed structs where they can express it, and as JSON text where
 * they cannot (an unknown or doubled member, a fraction, null, a value of another type).
 */
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
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

/* A struct to be filled; the values of the fields that it must have come from the text. */
template <typename T>
T blank() {
    if constexpr (std::is_default_constructible_v<T>) {
        return T();
    } else if constexpr (std::is_constructible_v<T, takings::whole>) {
        return T(takings::whole(0));
    } else if constexpr (std::is_constructible_v<T, const char *, const char *, int>) {
        return T("", "", 0);
    } else {
        return T("", 0, 0, 0);
    }
}

template <typename T>
T convert(const value &from);

/* Fills a field that a member of the text has to be there for. */
template <typename T>
void fill(T &field, const value *from) {
    if (!from) {
        throw inexpressible();
    }
    field = convert<T>(*from);
}

/* Fills a field that may be absent. */
template <typename T>
void fill(std::optional<T> &field, const value *from) {
    if (from) {
        field = convert<T>(*from);
    }
}

template <typename T>
struct is_list : std::false_type {};
template <typename T>
struct is_list<std::vector<T>> : std::true_type {};

template <typename T>
T convert(const value &from) {
    const auto expect = [&](int kind) {
        if (from.kind != kind) {
            throw inexpressible();
        }
    };
    if constexpr (std::is_convertible_v<T, std::string>) {
        expect(value::text);
        return from.string;
    } else if constexpr (std::is_same_v<T, takings::flag>) {
        expect(value::boolean);
        return from.number != 0;
    } else if constexpr (std::is_same_v<T, takings::whole>) {
        expect(value::integer);
        return from.number;
    } else if constexpr (std::is_same_v<T, std::chrono::milliseconds>) {
        expect(value::integer);
        return std::chrono::milliseconds(from.number);
    } else if constexpr (std::is_same_v<T, std::chrono::system_clock::time_point>) {
        expect(value::integer);
        /* more seconds than a clock can count stay text, for the library to judge */
        if (from.number < 0 || from.number > 4000000000) {
            throw inexpressible();
        }
        return std::chrono::system_clock::time_point(std::chrono::seconds(from.number));
    } else if constexpr (is_list<T>::value) {
        expect(value::list);
        T items;
        for (const value &item : from.items) {
            items.push_back(convert<typename T::value_type>(item));
        }
        return items;
    } else {
        /* the fields that the library would write; a member that is none of them is inexpressible */
        expect(value::object);
        T object = blank<T>();
        std::size_t known = 0;
        takings::detail::fields<T>::each(object, [&](const char *name, auto &field) {
            const auto found = from.members.find(name);
            known += found != from.members.end();
            fill(field, found != from.members.end() ? &found->second : nullptr);
        });
        if (known != from.members.size()) {
            throw inexpressible();
        }
        return object;
    }
}

template <typename T>
T typed(const std::string &json) {
    return convert<T>(reader(json).whole_text());
}

takings::client make_client(const std::string &json) {
    std::optional<takings::config> config;
    try {
        config = typed<takings::config>(json);
    } catch (const inexpressible &) {
        return takings::client(json);
    }
    return takings::client(*config);
}

takings::client with_options(const takings::client &client, const std::string &json) {
    std::optional<takings::options> options;
    try {
        options = typed<takings::options>(json);
    } catch (const inexpressible &) {
        return client.with_options(json);
    }
    return client.with_options(*options);
}

takings::capture capture(const takings::client &client, const std::string &order_id, const std::string &json,
                         const std::optional<std::string> &key) {
    std::optional<takings::capture_request> request;
    try {
        request = typed<takings::capture_request>(json);
    } catch (const inexpressible &) {
        return client.capture(order_id, json, key);
    }
    return client.capture(order_id, *request, key);
}

/* The reasons against a call, in the typed way wherever it can be taken. */
std::vector<std::string> check(const takings::order &order, const std::string &operation, const std::string &json) {
    try {
        return operation == "refund" ? order.check_refund(typed<takings::refund_request>(json))
                                     : order.check_capture(typed<takings::capture_request>(json));
    } catch (const inexpressible &) {
        return operation == "refund" ? order.check_refund(json) : order.check_capture(json);
    }
}

takings::intent intent_of(const std::string &operation, const std::string &order_id, const std::string &json) {
    try {
        if (operation == "capture") {
            return takings::intent::capture(order_id, typed<takings::capture_request>(json));
        } else if (operation == "refund") {
            return takings::intent::refund(order_id, typed<takings::refund_request>(json));
        }
    } catch (const inexpressible &) {
    }
    return takings::intent::from_json(operation, order_id, json);
}

std::string quoted(const std::string &text) { return takings::detail::json::of(text); }

std::string joined(const std::vector<std::string> &items) {
    std::string all;
    for (const std::string &item : items) {
        all += (all.empty() ? "" : ",") + item;
    }
    return '[' + all + ']';
}

/* A row for a ledger, with the text and the values of its INSERT. */
std::string shown(const takings::intent &row, const std::string &style) {
    const auto amount = row.captured_amount ? row.captured_amount : row.refunded_amount;
    const std::vector<std::string> values = {quoted(row.account), quoted(row.order_id), quoted(row.reference),
                                             std::to_string(amount.value()),
                                             row.request ? quoted(*row.request) : "null"};
    return "{\"row\":" + row.json + ",\"sql\":" + quoted(row.insert(style)) + ",\"values\":" + joined(values) + '}';
}

/* The kind as the class of the exception says it: that is what a C++ program goes by. */
std::string kind_of(const takings::error &error) {
    return dynamic_cast<const takings::invalid_input *>(&error)     ? "invalid_input"
           : dynamic_cast<const takings::not_sent *>(&error)        ? "not_sent"
           : dynamic_cast<const takings::rejected *>(&error)        ? "rejected"
           : dynamic_cast<const takings::outcome_unknown *>(&error) ? "outcome_unknown"
           : dynamic_cast<const takings::internal_error *>(&error)  ? "internal"
                                                                    : "none";
}

/* An outcome: the JSON text of what a call ended in, under the name that the suite has for it. */
void print_outcome(const char *name, const std::string &json) {
    std::cout << "{\"" << name << "\":" << json << "}" << std::endl;
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
                print_outcome("capture", capture(*client, field[2], field[3], key).json);
            } else if (field[0] == "reconcile" && field.size() == 5) {
                if (!field[1].empty()) {
                    client.reset();
                    client = make_client(field[1]);
                }
                print_outcome("reconciliation", client.value().reconcile(field[2], field[3], std::stoll(field[4])).json);
            } else if (field[0] == "check" && field.size() == 5) {
                if (!field[1].empty()) {
                    client.reset();
                    client = make_client(field[1]);
                }
                std::vector<std::string> reasons = check(client.value().get_order(field[2]), field[3], field[4]);
                std::transform(reasons.begin(), reasons.end(), reasons.begin(), quoted);
                print_outcome("check", "{\"reasons\":" + joined(reasons) + '}');
            } else if (field[0] == "intent" && field.size() == 5) {
                print_outcome("intent", shown(intent_of(field[1], field[2], field[3]), field[4]));
            } else if (field[0] == "options" && field.size() == 3) {
                if (!field[1].empty()) {
                    client.reset();
                    client = make_client(field[1]);
                }
                client = with_options(client.value(), field[2]);
                print_outcome("options", "{}");
            } else if (field[0] == "derive" && field.size() == 3) {
                const std::string key = takings::idempotency_key(field[1], field[2]);
                print_outcome("key", '"' + key + '"');
            } else if (field.size() == 6) {
                if (!field[1].empty()) {
                    client.reset();
                    client = make_client(field[1]);
                }
                const std::optional<std::string> key =
                    field[4] == "1" ? std::optional<std::string>(field[5]) : std::nullopt;
                print_outcome("reply", client.value().call(field[0], field[2], field[3], key).json());
            } else if (field[0] == "quit" && field.size() == 1) {
                break;
            } else {
                std::cerr << "adapter.cpp: a line of " << field.size() << " fields that begins with \"" << field[0]
                          << "\" is no call\n";
                return 2;
            }
        } catch (const takings::error &error) {
            if (kind_of(error) != error.kind_name()) {
                std::cerr << "adapter.cpp: " << error.kind_name() << " was thrown as " << kind_of(error) << '\n';
                return 2;
            }
            print_outcome("error", error.json());
        }
    }
    return 0;
}
