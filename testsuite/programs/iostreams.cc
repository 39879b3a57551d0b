// C++ streams: formatted output and input, files, string streams, locales, exceptions that streams throw, and
// standard streams in step with C's.
//#Stdout-contains: 255 ff 0377
//#Stdout-contains: first, second, third
//#Stdout-contains: file 1000 499500
//#Stdout-contains: words 3 of 42
//#Stdout-contains: thrown: the stream says why
//#Stdout-contains: pi 3.1416|00042
#include "common.h"

#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <locale>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

int main() {
    std::cout << 255 << ' ' << std::hex << 255 << ' ' << std::showbase << std::oct << 255 << std::dec << std::endl;
    // C's streams and C++'s write in turns.
    std::cout << "first, ";
    printf("second, ");
    std::cout << "third" << std::endl;

    std::string name = "/tmp/iostreams." + std::to_string(getpid());
    {
        std::ofstream out(name);
        for (int i = 0; i < 1000; i++) out << i << '\n';
        CHECK(out.good());
    }
    std::ifstream in(name);
    std::vector<int> numbers((std::istream_iterator<int>(in)), std::istream_iterator<int>());
    std::cout << "file " << numbers.size() << ' ' << std::accumulate(numbers.begin(), numbers.end(), 0) << '\n';
    SYS(unlink(name.c_str()));

    std::istringstream line("words 3 of 42");
    std::string what, of;
    int some, all;
    line >> what >> some >> of >> all;
    std::cout << what << ' ' << some << ' ' << of << ' ' << all << '\n';

    std::ifstream missing;
    missing.exceptions(std::ios::failbit);
    try {
        missing.open("/no/such/file");
        CHECK(false);
    } catch (const std::ios_base::failure &) {
        std::cout << "thrown: the stream says why\n";
    }
    std::cout.imbue(std::locale::classic());
    std::cout << "pi " << std::setprecision(5) << 3.14159265 << '|' << std::setw(5) << std::setfill('0') << 42 << std::endl;
    return PASS;
}
