"""Read and check configs of every form: OpenMMLab's, the short YAML, Awesome-Backbones'."""
