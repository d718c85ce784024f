// Captures orders from a C++ program that CMake builds.
//
//     build/capture < orders
//
// orders has a line for each capture: ORDER_ID AMOUNT NAME, such as
// f3392f8b-6116-4073-ab96-e330819e2c07 6000 parcel-1. A line is printed for
// each: ORDER_ID NAME captured CAPTURE_ID, or ORDER_ID NAME and the error. Ends
// with 75 when an outcome is unknown: run it again with the same lines, what
// was captured is not captured twice. The account comes from KLARNA_USERNAME,
// KLARNA_PASSWORD and KLARNA_ENVIRONMENT, or the other variables that
// takings::client::from_env reads.
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <system_error>

#include <takings.hpp>

namespace {

constexpr int try_again = 75;

int capture(const takings::client &client, const std::string &line) {
    std::istringstream words(line);
    std::string order_id, digits, name, more;
    words >> order_id >> digits >> name;
    std::int64_t amount = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), amount);
    // "60.00" is no whole number, and "parcel 1" would be the key of "parcel 2"
    // without its second word.
    if (!words || words >> more || failure != std::errc() || end != digits.data() + digits.size()) {
        std::cout << "no ORDER_ID AMOUNT NAME: " << line << '\n';
        return EXIT_FAILURE;
    }
    std::cout << order_id << ' ' << name << ' ';
    try {
        takings::capture_request request(amount);
        request.reference = name;
        // the same for the same order and name, in every run
        const auto key = takings::idempotency_key(order_id, name);
        const auto made = client.capture(order_id, request, key);
        std::cout << "captured " << made.capture_id << '\n';
        return EXIT_SUCCESS;
    } catch (const takings::error &error) {
        std::cout << error.kind_name() << ": " << error.what() << '\n';
        const bool certain = error.kind() == TAKINGS_ERROR_INVALID_INPUT || error.kind() == TAKINGS_ERROR_REJECTED;
        return certain ? EXIT_FAILURE : try_again;
    }
}

} // namespace

int main() {
    try {
        const auto client = takings::client::from_env();
        int status = EXIT_SUCCESS;
        for (std::string line; std::getline(std::cin, line);) {
            const int ended = capture(client, line);
            status = status == try_again || ended == EXIT_SUCCESS ? status : ended;
        }
        return status;
    } catch (const takings::error &error) {
        std::cerr << error.what() << '\n';
        return 2;
    }
}
