#include "cli/program.h"

int main(int argc, char** argv) { return skein::cli::run_program(argc, argv); }
