variable "region" {
  description = "AWS region of the state's bucket."
  type        = string
}

variable "name" {
  description = "Begins the bucket's name."
  type        = string
  default     = "penstock"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", var.name))
    error_message = "name is 2 to 16 of a-z, 0-9 and -, beginning with a letter and not ending with -."
  }
}

variable "endpoint" {
  description = "For tests: the address of a fake AWS, which is then all that is asked."
  type        = string
  default     = ""
}
