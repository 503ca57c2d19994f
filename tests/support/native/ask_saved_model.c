/* Runs a SavedModel on one text through TensorFlow's C API: no Python anywhere, as in a model server.
 *
 * ask_saved_model FOLDER INPUT_OP OUTPUT_OP OUTPUT_INDEX TEXT LIBRARY...
 *
 * LIBRARY: shared libraries of TF Text's ops. Prints the numbers of the output, one a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tensor.h"
#include "tensorflow/c/tf_tstring.h"

static void check(const TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static TF_Output named(TF_Graph* graph, const char* name, int index) {
  TF_Output output = {TF_GraphOperationByName(graph, name), index};
  if (output.oper == NULL) {
    fprintf(stderr, "no operation %s\n", name);
    exit(1);
  }
  return output;
}

int main(int argc, char** argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: %s FOLDER INPUT_OP OUTPUT_OP OUTPUT_INDEX TEXT LIBRARY...\n", argv[0]);
    return 2;
  }
  TF_Status* status = TF_NewStatus();
  for (int i = 6; i < argc; i++) {
    TF_LoadLibrary(argv[i], status);
    check(status, argv[i]);
  }
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status, argv[1]);

  int64_t one = 1;
  TF_Tensor* text = TF_AllocateTensor(TF_STRING, &one, 1, sizeof(TF_TString));
  TF_TString* string = TF_TensorData(text);
  TF_StringInit(string);
  TF_StringCopy(string, argv[5], strlen(argv[5]));

  TF_Output input = named(graph, argv[2], 0), output = named(graph, argv[3], atoi(argv[4]));
  TF_Tensor* answer = NULL;
  TF_SessionRun(session, NULL, &input, &text, 1, &output, &answer, 1, NULL, 0, NULL, status);
  check(status, "run");
  if (TF_TensorType(answer) != TF_FLOAT) {
    fprintf(stderr, "expected an output of floats\n");
    return 1;
  }
  const float* numbers = TF_TensorData(answer);
  for (int64_t i = 0; i < TF_TensorElementCount(answer); i++) printf("%.9g\n", numbers[i]);

  TF_DeleteTensor(answer);
  TF_StringDealloc(string);
  TF_DeleteTensor(text);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteStatus(status);
  return 0;
}
